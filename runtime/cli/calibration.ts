/** A text file as the tokens that calibrate. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { OchreError } from "../errors";
import type { CalibrationText } from "../palettize/calibration";
import { Tokenizer } from "../text/tokenizer";
import type { OpenCheckpoint } from "./open-checkpoint";

/**
 * The first `most` tokens of a UTF-8 file; fewer where it has fewer.
 * @throws OchreError INVALID_ARGUMENT where the file cannot be read or is empty, or the checkpoint has no tokenizer;
 *   TOKENIZER_MISMATCH where that is another model's.
 */
export async function readCalibration(
  verb: string,
  file: string,
  { checkpoint, config }: Pick<OpenCheckpoint, "checkpoint" | "config">,
  most: number,
): Promise<CalibrationText> {
  const { tokenizer, tokenizerConfig } = checkpoint.files;
  if (!tokenizer) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[${verb}] calibrating with a text needs a checkpoint with tokenizer.json but ${checkpoint.name} has none.`,
    );
  }
  const bytes = await readFile(file).catch((cause) => {
    throw new OchreError("INVALID_ARGUMENT", `[${verb}] the calibration text ${file} cannot be read (${cause.code}).`, { cause });
  });
  const text = Tokenizer.create(tokenizer, tokenizerConfig);
  text.checkVocabulary(config.V);
  const ids = text.encode(bytes.toString("utf8")).slice(0, most);
  if (ids.length === 0)
    throw new OchreError("INVALID_ARGUMENT", `[${verb}] the calibration text ${file} must hold a token but is empty.`);
  return { ids, sha256: createHash("sha256").update(bytes).digest("hex") };
}
