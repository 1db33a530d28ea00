/**
 * `ochre recover MODEL_DIR --source CHECKPOINT --calibrate FILE [--rank 16] [--tokens N] [--steps N | --minutes M] [--rate R] [--seed S] [--default] [--threads N]`: an
 * adapter in MODEL_DIR/adapters/recovery that wins back what palettizing lost. What is trained is kept every minute and on
 * Ctrl-C, and the same command goes on from there.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { INDEX } from "../formats/checkpoint-directory";
import { writePeft } from "../formats/peft";
import { DEFAULT_SEED } from "../palettize/compile";
import { MAX_SEED } from "../palettize/plan-file";
import type { Training } from "../recover/distill";
import { checkPair, type Divergences, type RecoverOptions, recover as recoverModel } from "../recover/recover";
import { encodeTraining, readTraining } from "../recover/training-file";
import { readCalibration } from "./calibration";
import { readObject } from "./decisions";
import { openFileSource } from "./file-source";
import { openCheckpoint } from "./open-checkpoint";
import { readNumber, required } from "./options";
import { untilInterrupted } from "./palettize";
import { makeProgress } from "./progress";
import { sourceHash } from "./source-hash";
import { defaultThreads, MAX_THREADS, withPool } from "./threads";

/** The adapter's directory below `adapters/`, and what config.json calls it. */
const NAME = "recovery";
const SAVE_EVERY_MS = 60_000;

interface Settings extends Pick<RecoverOptions, "rank" | "seed" | "steps" | "minutes" | "rate"> {
  directory: string;
  source: string;
  file: string;
  tokens: number;
  threads: number;
  isDefault: boolean;
}

/** @throws OchreError what openCheckpoint, readCalibration and the recovery throw; INVALID_ARGUMENT where options make no sense. */
export async function recover(argv: string[]): Promise<void> {
  const settings = readSettings(argv);
  const { directory, source, file, tokens, rank, seed, steps, minutes, rate, threads } = settings;
  const target = path.join(directory, "adapters", NAME);
  const model = await openCheckpoint(directory);
  const opened = await openCheckpoint(source);
  const progress = makeProgress();
  const startedMs = performance.now();
  try {
    checkPair(opened.checkpoint, opened.config, model.checkpoint, model.config);
    const { ids, sha256 } = await readCalibration("recover", file, opened, tokens);
    const about = JSON.stringify({
      source: await sourceHash(source, opened.shards),
      model: createHash("sha256")
        .update(await readFile(path.join(directory, INDEX)))
        .digest("hex"),
      ...{ text: sha256, tokens: ids.length, rank, seed, steps, minutes, rate },
    });
    // Beside the adapter's directory: whoever finds that finds an adapter.
    const trainingFile = `${target}.training`;
    const kept = keeper(trainingFile, about);
    await untilInterrupted(async (signal) => {
      const recovering = withPool(threads, signal, async (pool) =>
        recoverModel(
          opened.checkpoint,
          model.checkpoint,
          { source: opened.config, model: model.config },
          {
            ...{ name: NAME, ids, rank, seed, steps, minutes, rate, pool, signal },
            training: await earlier(trainingFile, about),
            onProgress: (done, note) => progress.update(done, 1, note),
            onTraining: (training) => kept.step(training),
          },
        ),
      );
      const { adapter, kl } = await recovering.catch(async (error) => {
        await kept.save();
        throw error;
      });
      const { config, weights } = writePeft(adapter, { base: opened.checkpoint.name });
      await replace(path.join(target, "adapter_model.safetensors"), weights);
      await replace(path.join(target, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
      await rm(trainingFile, { force: true });
      if (settings.isDefault) await makeDefault(directory);
      progress.clear();
      console.log(describe(target, weights.length, kl, (performance.now() - startedMs) / 1000));
    }, `interrupted; what is trained is in ${trainingFile}, and the same command goes on from there`);
  } finally {
    progress.clear();
    await Promise.all([opened.close(), model.close()]);
  }
}

function readSettings(argv: string[]): Settings {
  const { values, positionals } = parseArgs({
    args: argv,
    options: {
      source: { type: "string" },
      calibrate: { type: "string" },
      rank: { type: "string", default: "16" },
      tokens: { type: "string", default: "32768" },
      steps: { type: "string" },
      minutes: { type: "string" },
      rate: { type: "string" },
      seed: { type: "string", default: `${DEFAULT_SEED}` },
      threads: { type: "string", default: `${defaultThreads()}` },
      default: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const usage = "ochre recover MODEL_DIR --source CHECKPOINT --calibrate FILE";
  if (positionals.length !== 1) throw new OchreError("INVALID_ARGUMENT", `[recover] needs one model directory: ${usage}.`);
  if (values.steps !== undefined && values.minutes !== undefined)
    throw new OchreError("INVALID_ARGUMENT", "[recover] --minutes leaves nothing for --steps to say: give one of them.");
  const number = (option: "rank" | "tokens" | "seed" | "threads", min: number, max: number) =>
    readNumber("recover", option, values[option], { min, max, whole: true });
  return {
    directory: positionals[0],
    source: required("recover", "source", values.source),
    file: required("recover", "calibrate", values.calibrate),
    tokens: number("tokens", 2, 2 ** 24),
    rank: number("rank", 1, 1024),
    seed: number("seed", 0, MAX_SEED),
    threads: number("threads", 1, MAX_THREADS),
    steps: values.steps === undefined ? undefined : readNumber("recover", "steps", values.steps, { min: 0, whole: true }),
    minutes: values.minutes === undefined ? undefined : readNumber("recover", "minutes", values.minutes, { min: 0 }),
    rate: values.rate === undefined ? undefined : readNumber("recover", "rate", values.rate, { min: 0, max: 1 }),
    isDefault: values.default,
  };
}

/** What an earlier run trained; undefined where there is none. @throws OchreError INVALID_ARGUMENT where it was about something else. */
async function earlier(file: string, about: string): Promise<Training | undefined> {
  if (!(await stat(file).catch(() => undefined))) return undefined;
  const source = await openFileSource(file);
  try {
    const read = await readTraining(source);
    if (read.about === about) return read.training;
  } finally {
    await source.close();
  }
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[recover] ${file} holds the training of another source, model, text or set of options: go on with those, or delete it.`,
  );
}

/** Writes the training when a minute has passed since it last did, and when asked to. */
function keeper(file: string, about: string) {
  let latest: Training | undefined;
  let savedMs = performance.now();
  const save = async () => {
    if (latest) await replace(file, encodeTraining(latest, about));
    savedMs = performance.now();
  };
  const step = async (training: Training) => {
    latest = training;
    if (performance.now() - savedMs >= SAVE_EVERY_MS) await save();
  };
  return { save, step };
}

/** Whole or not at all. */
async function replace(file: string, contents: string | Uint8Array): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(`${file}.partial`, contents);
  await rename(`${file}.partial`, file);
}

/** Whoever loads the model then loads the adapter with it. */
async function makeDefault(directory: string): Promise<void> {
  const file = path.join(directory, "config.json");
  const [, config] = await readObject(file);
  const quantization = { ...(config.quantization_config as object), recovery: NAME };
  await replace(file, `${JSON.stringify({ ...config, quantization_config: quantization }, null, 2)}\n`);
}

const describe = (target: string, bytes: number, { without, before, after }: Divergences, seconds: number): string =>
  `${target}: ${(bytes / 2 ** 20).toFixed(1)} MiB; on held text KL ${without.toFixed(4)} without it, ${before.toFixed(4)} before training, ` +
  `${after.toFixed(4)} after${after > before ? " (so the terms before it are kept)" : ""}, ${seconds.toFixed(1)} s`;
