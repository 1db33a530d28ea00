/**
 * `ochre palettize SOURCE --out DIR [--force]`: a checkpoint to a palettized model directory. `--calibrate` and `--average-bits` say how
 * well, `--write-plan` keeps what was decided and `--plan` follows it.
 */
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { OchreError } from "../errors";
import { palettize as compile, type PalettizeReport } from "../palettize/compile";
import type { CompilerPool } from "../palettize/tasks";
import { type DecisionOptions, decide, planOf } from "./decisions";
import { type GpuChoice, withGpu } from "./gpu-pool";
import { fetchFromHub, type HubOptions, hubSettings, parseHubModel } from "./hub";
import { openCheckpoint } from "./open-checkpoint";
import { readPalettizeOptions } from "./palettize-options";
import { makeProgress, type Progress } from "./progress";
import { sourceHash } from "./source-hash";
import { defaultThreads, makePool } from "./threads";

/** Throws what readPalettizeOptions and palettizeTo throw. */
export async function palettize(argv: string[]): Promise<void> {
  const { source, out, options } = readPalettizeOptions(argv);
  await untilInterrupted((signal) => palettizeTo(source, out, { ...options, signal }));
}

export interface PalettizeToOptions extends DecisionOptions, HubOptions {
  /** Default as many as there are cores. */
  threads?: number;
  /** Replace the model that is there. */
  force?: boolean;
  /** A file for the plan that makes the same model again. */
  writePlan?: string;
  /** Written beside the weights: file name to contents. */
  extraFiles?: Readonly<Record<string, string | Uint8Array>>;
  /** Default off: the same bytes on every machine. */
  gpu?: GpuChoice;
  signal?: AbortSignal;
}

/**
 * Compiles `source`, a path or a `hub:` name, into `out` and prints a report on stdout. The directory appears under its name only once it is whole:
 * an error or an abort leaves nothing.
 * @throws OchreError what fetchFromHub, openCheckpoint, withGpu, decide and the compiler throw, and INVALID_ARGUMENT where `out` exists and `force` is not
 *   set, or is no model; the signal's reason on abort.
 */
export async function palettizeTo(source: string, out: string, options: PalettizeToOptions = {}): Promise<void> {
  const { force = false, writePlan, extraFiles = {}, threads = defaultThreads(), gpu = "off", signal } = options;
  await checkTarget(out, force);
  const startedMs = performance.now();
  const progress = makeProgress();
  const fetched = await fetchSource(source, options, progress, signal);
  const location = fetched?.directory ?? source;
  const opened = await openCheckpoint(location);
  const { checkpoint, config, close } = opened;
  const partial = path.join(path.dirname(path.resolve(out)), `.${path.basename(path.resolve(out))}.partial-${process.pid}`);
  let pool: CompilerPool | undefined;
  let hashing: Promise<string> | undefined;
  const sourceSha256 = () => {
    hashing ??= sourceHash(location, opened.shards);
    return hashing;
  };
  try {
    pool = await withGpu(makePool(threads, signal), gpu);
    const decided = await decide(opened, options, sourceSha256);
    await mkdir(partial, { recursive: true });
    if (writePlan) await mkdir(path.dirname(writePlan), { recursive: true });
    const named = { name: checkpoint.name, sha256: (await stat(location)).isFile() ? await sourceSha256() : undefined };
    const report = await compile(checkpoint, config, {
      ...decided.decisions,
      sink: { write: (fileName, bytes) => writeFile(path.join(partial, fileName), bytes) },
      source: fetched ? { name: fetched.name, revision: fetched.revision } : named,
      pool,
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
    await pool?.close();
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

/**
 * Runs with a signal that the first Ctrl-C aborts, so that what is half done can be cleared away. So does the end of a process that
 * started this one with a channel.
 */
export async function untilInterrupted(
  task: (signal: AbortSignal) => Promise<void>,
  message = "interrupted; what was half made is gone",
): Promise<void> {
  const controller = new AbortController();
  const interrupt = () => controller.abort(new Error(message));
  const events = ["SIGINT", "SIGTERM", "disconnect"];
  for (const event of events) process.once(event, interrupt);
  try {
    await task(controller.signal);
  } finally {
    for (const event of events) process.off(event, interrupt);
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
