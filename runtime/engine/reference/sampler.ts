/** Picks a token on the CPU, bit for bit as the twins of the GPU's sampling kernels do. */
import { sampleGumbel } from "../../../kernels/reference/sample-gumbel";
import { sampleThreshold } from "../../../kernels/reference/sample-threshold";

export interface Sampling {
  /** 0 = greedy, the default. */
  temperature?: number;
  /** Default all. */
  topK?: number;
  topP?: number;
  minP?: number;
  /** u32, default 0. */
  seed?: number;
}

/**
 * @param logits [V]
 * @param position of the token to be drawn: the same seed draws the same token there
 */
export function sampleToken(logits: Float32Array, { temperature = 0, seed = 0, ...limits }: Sampling, position: number): number {
  const threshold = temperature > 0 ? sampleThreshold({ logits, temperature, ...limits }) : 0;
  return sampleGumbel({ logits, threshold, temperature, seed, position });
}
