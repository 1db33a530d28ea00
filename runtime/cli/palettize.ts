/**
 * `ochre palettize SOURCE --out DIR [--force]`: a checkpoint to a palettized model directory. `--calibrate` and `--average-bits` say how
 * well, `--write-plan` keeps what was decided and `--plan` follows it.
 */
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { palettize as compile, type PalettizeReport } from "../palettize/compile";
import { MAX_PROBE_TOKENS, MAX_SEED } from "../palettize/plan-file";
import { type DecisionOptions, decide, planOf } from "./decisions";
import { openCheckpoint } from "./open-checkpoint";
import { readNumber } from "./options";
import { makeProgress } from "./progress";
import { sourceHash } from "./source-hash";

/** Throws what palettizeTo throws, and INVALID_ARGUMENT without exactly one source and --out, or for options that make no sense. */
export async function palettize(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: {
      out: { type: "string" },
      force: { type: "boolean", default: false },
      "probe-tokens": { type: "string" },
      calibrate: { type: "string" },
      "calibrate-tokens": { type: "string" },
      "average-bits": { type: "string" },
      widths: { type: "string" },
      fix: { type: "string", multiple: true },
      sensitivities: { type: "string" },
      seed: { type: "string" },
      plan: { type: "string" },
      "write-plan": { type: "string" },
    },
    allowPositionals: true,
  });
  if (positionals.length !== 1 || !values.out) {
    throw invalid("needs a source and a place: ochre palettize SOURCE --out DIR [--probe-tokens N] [--force].");
  }
  const options = values as Partial<Record<string, string>>;
  refuseTogether(options, "plan", "probe-tokens", "calibrate-tokens", "average-bits", "widths", "fix", "sensitivities", "seed");
  refuseTogether(options, "probe-tokens", "calibrate");
  requireWith(options, "calibrate", "calibrate-tokens");
  requireWith(options, "average-bits", "widths", "fix", "sensitivities");
  const whole = (option: keyof typeof values, min: number, max: number) => {
    const text = options[option];
    return text === undefined ? undefined : readNumber("palettize", option, text, { min, max, whole: true });
  };
  const average = values["average-bits"];
  const [source] = positionals;
  const settings: PalettizeToOptions = {
    force: values.force,
    probeTokens: whole("probe-tokens", 0, 65536),
    calibrate: values.calibrate,
    calibrateTokens: whole("calibrate-tokens", 1, MAX_PROBE_TOKENS),
    seed: whole("seed", 0, MAX_SEED),
    allocation:
      average === undefined
        ? undefined
        : {
            averageBits: readNumber("palettize", "average-bits", average, { min: 2, max: 16 }),
            widths: values.widths?.split(",").map(Number),
            fix: readFix(values.fix),
          },
    sensitivities: values.sensitivities,
    plan: values.plan,
    writePlan: values["write-plan"],
  };
  await untilInterrupted((signal) => palettizeTo(source, values.out!, { ...settings, signal }));
}

/** `mlp.down_proj=4` and so on. */
function readFix(entries: readonly string[] = []): Record<string, number> {
  const pairs = entries.map((entry): [string, number] => {
    const [, name, width] = /^([\w.]+)=([234])$/.exec(entry) ?? [];
    if (!name) throw invalid(`--fix must be a linear and its width, such as mlp.down_proj=4, but is ${JSON.stringify(entry)}.`);
    return [name, Number(width)];
  });
  return Object.fromEntries(pairs);
}

function refuseTogether(options: Partial<Record<string, unknown>>, one: string, ...others: string[]): void {
  const other = others.find((option) => options[option] !== undefined);
  if (options[one] !== undefined && other) throw invalid(`--${one} decides what --${other} asks for: give one of them.`);
}

function requireWith(options: Partial<Record<string, unknown>>, one: string, ...others: string[]): void {
  const other = others.find((option) => options[option] !== undefined);
  if (options[one] === undefined && other) throw invalid(`--${other} needs --${one}.`);
}

const invalid = (what: string): OchreError => new OchreError("INVALID_ARGUMENT", `[palettize] ${what}`);

export interface PalettizeToOptions extends DecisionOptions {
  /** Replace the model that is there. */
  force?: boolean;
  /** A file for the plan that makes the same model again. */
  writePlan?: string;
  /** Written beside the weights: file name to contents. */
  extraFiles?: Readonly<Record<string, string | Uint8Array>>;
  signal?: AbortSignal;
}

/**
 * Compiles `source` into `out` and prints a report on stdout. The directory appears under its name only once it is whole:
 * an error or an abort leaves nothing.
 * @throws OchreError what openCheckpoint, decide and the compiler throw, and INVALID_ARGUMENT where `out` exists and `force` is not
 *   set, or is no model; the signal's reason on abort.
 */
export async function palettizeTo(source: string, out: string, options: PalettizeToOptions = {}): Promise<void> {
  const { force = false, writePlan, extraFiles = {}, signal } = options;
  await checkTarget(out, force);
  const startedMs = performance.now();
  const opened = await openCheckpoint(source);
  const { checkpoint, config, close } = opened;
  const partial = path.join(path.dirname(path.resolve(out)), `.${path.basename(path.resolve(out))}.partial-${process.pid}`);
  const progress = makeProgress();
  let hashing: Promise<string> | undefined;
  const sourceSha256 = () => {
    hashing ??= sourceHash(source, opened.shards);
    return hashing;
  };
  try {
    const decided = await decide(opened, options, sourceSha256);
    await mkdir(partial, { recursive: true });
    if (writePlan) await mkdir(path.dirname(writePlan), { recursive: true });
    const sha256 = (await stat(source)).isFile() ? await sourceSha256() : undefined;
    const report = await compile(checkpoint, config, {
      ...decided.decisions,
      sink: { write: (fileName, bytes) => writeFile(path.join(partial, fileName), bytes) },
      source: { name: checkpoint.name, sha256 },
      signal,
      onProgress: ({ done, total, name }) => progress.update(done, total, name),
    });
    for (const [fileName, contents] of Object.entries(extraFiles)) await writeFile(path.join(partial, fileName), contents);
    if (writePlan) await writeFile(writePlan, `${JSON.stringify(planOf(decided, report, await sourceSha256()), null, 2)}\n`);
    await rm(out, { recursive: true, force: true });
    await rename(partial, out);
    progress.clear();
    console.log(describe(report, out, (performance.now() - startedMs) / 1000));
  } finally {
    progress.clear();
    await close();
    await rm(partial, { recursive: true, force: true });
  }
}

/** `--force` replaces models and empty directories, never somebody's home. */
async function checkTarget(out: string, force: boolean): Promise<void> {
  if (!(await stat(out).catch(() => undefined))) return;
  const files = await readdir(out).catch(() => ["a file"]);
  if (files.length === 0) return;
  if (!files.includes("config.json") && !files.includes("model.safetensors.index.json")) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[palettize] ${out} must be free but is there, and is no model: choose another --out.`,
    );
  }
  if (!force) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[palettize] ${out} must not exist but does: choose another --out, or replace it with --force.`,
    );
  }
}

/** Runs with a signal that the first Ctrl-C aborts, so that what is half done can be cleared away. */
export async function untilInterrupted(
  task: (signal: AbortSignal) => Promise<void>,
  message = "interrupted; nothing was left behind",
): Promise<void> {
  const controller = new AbortController();
  const interrupt = () => controller.abort(new Error("interrupted; what was half made is gone"));
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  try {
    await task(controller.signal);
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

const describe = ({ bytes, averageBits, relativeError }: PalettizeReport, out: string, seconds: number): string =>
  `${out}: ${averageBits.toFixed(2)} bits per weight in linears, ${(bytes / 2 ** 20).toFixed(1)} MiB, ` +
  `relative error ${relativeError.toFixed(4)}, ${seconds.toFixed(1)} s`;

/** Fetches a source that is on a hub; undefined for a path. */
async function fetchSource(
  source: string,
  options: HubOptions,
  progress: Progress,
  signal?: AbortSignal,
): Promise<{ directory: string; name: string; revision: string } | undefined> {
  const model = parseHubModel(source);
  if (!model) return undefined;
  try {
    const fetched = await fetchFromHub(model, hubSettings(options), {
      signal,
      onProgress: ({ done, total, name }) => progress.update(done, total, name),
    });
    return { ...fetched, name: model.id };
  } finally {
    progress.clear();
  }
}
