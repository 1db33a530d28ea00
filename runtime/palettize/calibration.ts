/** Which tokens run through the model while it is compiled, so that error feedback knows what its linears read. */
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { type ProbeTokens, randomTokens } from "./probe";

/** A text, as the tokens of the model's own tokenizer. */
export interface CalibrationText {
  /** At least one, each below V. */
  ids: readonly number[];
  /** Of the text's UTF-8 bytes, in hex. */
  sha256: string;
}

/** What ran through the model for error feedback. */
export type Calibration =
  | { kind: "none"; tokens: 0 }
  | { kind: "random"; tokens: number }
  | { kind: "text"; tokens: number; sha256: string };

const DEFAULT_PROBE_TOKENS = 512;
/** Tokens of a text that see each other. */
export const WINDOW_TOKENS = 512;

/** @throws OchreError INVALID_ARGUMENT where a text has no tokens, or some that the model has not. */
export function calibrationOf({ V }: ModelConfig, text?: CalibrationText, probeTokens = DEFAULT_PROBE_TOKENS): Calibration {
  if (!text) return probeTokens ? { kind: "random", tokens: probeTokens } : { kind: "none", tokens: 0 };
  const stranger = text.ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < V));
  if (stranger === undefined && text.ids.length > 0) return { kind: "text", tokens: text.ids.length, sha256: text.sha256 };
  const came = stranger === undefined ? "the text is empty" : `one is ${stranger}`;
  throw new OchreError("INVALID_ARGUMENT", `[palettize] a calibration text must hold ids of 0 to ${V - 1} but ${came}.`);
}

/** The ids themselves; undefined where nothing runs. */
export function probeTokensOf(
  { V }: ModelConfig,
  { kind, tokens }: Calibration,
  text: CalibrationText | undefined,
  seed: number,
): ProbeTokens | undefined {
  if (text) return { ids: text.ids, windowTokens: WINDOW_TOKENS };
  return kind === "random" ? randomTokens(tokens, V, seed) : undefined;
}

/** For config.json. */
export function describeCalibration(calibration: Calibration): string {
  switch (calibration.kind) {
    case "none":
      return "data-free: nearest entries";
    case "random":
      return `data-free: error feedback from ${calibration.tokens} random tokens`;
    case "text":
      return `error feedback from ${calibration.tokens} tokens of a text with SHA-256 ${calibration.sha256}`;
  }
}
