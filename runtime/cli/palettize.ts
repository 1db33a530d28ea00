/** `ochre palettize SOURCE --out DIR [--force]`: a checkpoint to a palettized model directory. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { palettize as compile, type PalettizeReport } from "../palettize/compile";
import { openCheckpoint } from "./open-checkpoint";
import { makeProgress } from "./progress";

/** Throws what palettizeTo throws, and INVALID_ARGUMENT without exactly one source and --out. */
export async function palettize(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: { out: { type: "string" }, force: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  if (positionals.length !== 1 || !values.out) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      "[palettize] needs a source and a place: ochre palettize SOURCE --out DIR [--force].",
    );
  }
  await palettizeTo(positionals[0], values.out, { force: values.force });
}

export interface PalettizeToOptions {
  /** Replace what is there. */
  force?: boolean;
  /** Written beside the weights: file name to contents. */
  extraFiles?: Readonly<Record<string, string | Uint8Array>>;
}

/**
 * Compiles `source` into `out` and prints a report on stdout. The directory appears under its name only once it is whole:
 * an error, or Ctrl-C, leaves nothing.
 * @throws OchreError what openCheckpoint and the compiler throw, and INVALID_ARGUMENT where `out` exists and `force` is not set.
 */
export async function palettizeTo(
  source: string,
  out: string,
  { force = false, extraFiles = {} }: PalettizeToOptions = {},
): Promise<void> {
  if (!force && (await stat(out).catch(() => undefined))) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[palettize] ${out} must not exist but does: choose another --out, or replace it with --force.`,
    );
  }
  const startedMs = performance.now();
  const { checkpoint, config, close } = await openCheckpoint(source);
  const partial = path.join(path.dirname(path.resolve(out)), `.${path.basename(out)}.partial-${process.pid}`);
  const progress = makeProgress();
  const interrupt = new AbortController();
  const onInterrupt = () => interrupt.abort(new OchreError("INVALID_ARGUMENT", "[palettize] interrupted."));
  process.once("SIGINT", onInterrupt);
  process.once("SIGTERM", onInterrupt);
  try {
    await mkdir(partial, { recursive: true });
    const report = await compile(checkpoint, config, {
      sink: { write: (fileName, bytes) => writeFile(path.join(partial, fileName), bytes) },
      source: { name: checkpoint.name, sha256: await fileHash(source) },
      signal: interrupt.signal,
      onProgress: ({ done, total, name }) => progress.update(done, total, name),
    });
    for (const [fileName, contents] of Object.entries(extraFiles)) await writeFile(path.join(partial, fileName), contents);
    if (force) await rm(out, { recursive: true, force: true });
    await rename(partial, out);
    progress.clear();
    console.log(describe(report, out, (performance.now() - startedMs) / 1000));
  } finally {
    progress.clear();
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
    await close();
    await rm(partial, { recursive: true, force: true });
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
