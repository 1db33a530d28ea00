/** A text as the tokens that calibrate: a file's, or one that the model writes itself. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { OchreError } from "../errors";
import type { CalibrationText } from "../palettize/calibration";
import { writeOwnText } from "../palettize/own-text";
import { Tokenizer } from "../text/tokenizer";
import type { OpenCheckpoint } from "./open-checkpoint";
import { makeProgress } from "./progress";

/** In place of a file's name: the model's own text. */
export const SELF = "self";
/** Any would do; it is fixed so that a plan's text can be written again. */
const SELF_SEED = 1;

/**
 * The first `most` tokens of a UTF-8 file, fewer where it has fewer, or of the text that the model writes for `SELF`, with progress
 * on stderr.
 * @throws OchreError INVALID_ARGUMENT where the file cannot be read or is empty, or the checkpoint has no tokenizer;
 *   TOKENIZER_MISMATCH where that is another model's.
 */
export async function readCalibration(
  verb: string,
  file: string,
  opened: Pick<OpenCheckpoint, "checkpoint" | "config">,
  most: number,
): Promise<CalibrationText> {
  const { checkpoint, config } = opened;
  const { tokenizer, tokenizerConfig } = checkpoint.files;
  if (!tokenizer) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[${verb}] calibrating with a text needs a checkpoint with tokenizer.json but ${checkpoint.name} has none.`,
    );
  }
  const bytes = file === SELF ? await ownText(opened, most) : await readText(verb, file);
  const text = Tokenizer.create(tokenizer, tokenizerConfig);
  text.checkVocabulary(config.V);
  const ids = text.encode(bytes.toString("utf8")).slice(0, most);
  if (ids.length === 0)
    throw new OchreError("INVALID_ARGUMENT", `[${verb}] the calibration text ${file} must hold a token but is empty.`);
  return { ids, sha256: createHash("sha256").update(bytes).digest("hex") };
}

async function readText(verb: string, file: string): Promise<Buffer> {
  return await readFile(file).catch((cause) => {
    throw new OchreError("INVALID_ARGUMENT", `[${verb}] the calibration text ${file} cannot be read (${cause.code}).`, { cause });
  });
}

async function ownText({ checkpoint, config }: Pick<OpenCheckpoint, "checkpoint" | "config">, most: number): Promise<Buffer> {
  const progress = makeProgress();
  try {
    const text = await writeOwnText(checkpoint, config, {
      // Encoded again a text may have fewer tokens than the model wrote, but not by so many.
      tokens: Math.ceil(most * 1.1),
      seed: SELF_SEED,
      onProgress: (done, total) => progress.update(done, total, "writing a text to calibrate with"),
    });
    return Buffer.from(text);
  } finally {
    progress.clear();
  }
}
