/**
 * `ochre write SOURCE --out FILE [--tokens N] [--seed S]`: a text in the model's own words, to calibrate with. It is what
 * `--calibrate self` uses; `--tokens` counts roughly, for the text is cut where it is.
 */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { DEFAULT_SEED } from "../palettize/compile";
import { writeOwnText } from "../palettize/own-text";
import { MAX_PROBE_TOKENS, MAX_SEED } from "../palettize/plan-file";
import { DEFAULT_CALIBRATE_TOKENS } from "./decisions";
import { openCheckpoint } from "./open-checkpoint";
import { readNumber, required } from "./options";
import { untilInterrupted } from "./palettize";
import { makeProgress } from "./progress";

/** @throws OchreError what openCheckpoint and writeOwnText throw; INVALID_ARGUMENT for options that make no sense. */
export async function write(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: {
      out: { type: "string" },
      tokens: { type: "string", default: `${DEFAULT_CALIBRATE_TOKENS}` },
      seed: { type: "string", default: `${DEFAULT_SEED}` },
    },
    allowPositionals: true,
  });
  if (positionals.length !== 1) {
    throw new OchreError("INVALID_ARGUMENT", "[write] needs one source: ochre write SOURCE --out FILE [--tokens N] [--seed S].");
  }
  const out = required("write", "out", values.out);
  const tokens = readNumber("write", "tokens", values.tokens, { min: 1, max: MAX_PROBE_TOKENS, whole: true });
  const seed = readNumber("write", "seed", values.seed, { min: 0, max: MAX_SEED, whole: true });
  const opened = await openCheckpoint(positionals[0]);
  const progress = makeProgress();
  const startedMs = performance.now();
  try {
    await untilInterrupted(async (signal) => {
      const text = await writeOwnText(opened.checkpoint, opened.config, {
        tokens,
        seed,
        signal,
        onProgress: (done, total) => progress.update(done, total, "tokens"),
      });
      await writeFile(out, text);
    }, "interrupted; nothing was written");
    progress.clear();
    console.log(`${out}: about ${tokens} tokens, ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  } finally {
    progress.clear();
    await opened.close();
  }
}
