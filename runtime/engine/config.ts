/**
 * Shape letters, used everywhere in the engine:
 *   T tokens in a step    D residual width    H query heads    G kv heads    d head size
 *   F MLP width           V vocabulary        L layers
 */
import { OchreError } from "../errors";
import type { CheckpointFiles } from "../formats/checkpoint";
import type { PalettizedConfig } from "../formats/palettized";

export interface RopeConfig {
  theta: number;
  /** Llama 3.1's frequency scaling; absent for plain RoPE. */
  llama3?: { factor: number; lowFreqFactor: number; highFreqFactor: number; originalContext: number };
}

export interface ModelConfig {
  /** `model_type` of the checkpoint. */
  family: "llama";
  L: number;
  D: number;
  H: number;
  G: number;
  d: number;
  F: number;
  V: number;
  /** Positions that the checkpoint was trained for. */
  contextTokens: number;
  normEps: number;
  rope: RopeConfig;
  /** The head shares the embedding table. */
  tiedHead: boolean;
  bosId?: number;
  /** Ids that end a reply. */
  eosIds: number[];
  quantization?: PalettizedConfig;
}
