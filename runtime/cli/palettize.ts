/** `ochre palettize SOURCE --out DIR [--probe-tokens N] [--force]`: a checkpoint to a palettized model directory. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { palettize as compile, type PalettizeReport } from "../palettize/compile";
import { openCheckpoint } from "./open-checkpoint";
import { readNumber } from "./options";
import { makeProgress } from "./progress";

/** Throws what palettizeTo throws, and INVALID_ARGUMENT without exactly one source and --out. */
export async function palettize(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: { out: { type: "string" }, "probe-tokens": { type: "string" }, force: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  if (positionals.length !== 1 || !values.out) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      "[palettize] needs a source and a place: ochre palettize SOURCE --out DIR [--probe-tokens N] [--force].",
    );
  }
  const [source] = positionals;
  const asked = values["probe-tokens"];
  const probeTokens =
    asked === undefined ? undefined : readNumber("palettize", "probe-tokens", asked, { min: 0, max: 65536, whole: true });
  await untilInterrupted((signal) => palettizeTo(source, values.out!, { force: values.force, probeTokens, signal }));
}

export interface PalettizeToOptions {
  /** Replace the model that is there. */
  force?: boolean;
  /** Random tokens for error feedback; 0 rounds to the nearest entry, which takes a fifth of the time. */
  probeTokens?: number;
  /** Written beside the weights: file name to contents. */
  extraFiles?: Readonly<Record<string, string | Uint8Array>>;
  signal?: AbortSignal;
}

/**
 * Compiles `source` into `out` and prints a report on stdout. The directory appears under its name only once it is whole:
 * an error or an abort leaves nothing.
 * @throws OchreError what openCheckpoint and the compiler throw, and INVALID_ARGUMENT where `out` exists and `force` is not set,
 *   or is no model; the signal's reason on abort.
 */
export async function palettizeTo(source: string, out: string, options: PalettizeToOptions = {}): Promise<void> {
  const { force = false, probeTokens, extraFiles = {}, signal } = options;
  await checkTarget(out, force);
  const startedMs = performance.now();
  const { checkpoint, config, close } = await openCheckpoint(source);
  const partial = path.join(path.dirname(path.resolve(out)), `.${path.basename(path.resolve(out))}.partial-${process.pid}`);
  const progress = makeProgress();
  try {
    await mkdir(partial, { recursive: true });
    const report = await compile(checkpoint, config, {
      sink: { write: (fileName, bytes) => writeFile(path.join(partial, fileName), bytes) },
      source: { name: checkpoint.name, sha256: await fileHash(source) },
      probeTokens,
      signal,
      onProgress: ({ done, total, name }) => progress.update(done, total, name),
    });
    for (const [fileName, contents] of Object.entries(extraFiles)) await writeFile(path.join(partial, fileName), contents);
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
export async function untilInterrupted(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const interrupt = () => controller.abort(new Error("interrupted; nothing was left behind"));
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

/** SHA-256 of a checkpoint that is one file, in hex; undefined for a directory. */
async function fileHash(source: string): Promise<string | undefined> {
  return (await stat(source)).isFile() ? sha256File(source) : undefined;
}

/** SHA-256 in hex. */
export async function sha256File(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk);
  return hash.digest("hex");
}
