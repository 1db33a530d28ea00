/**
 * Angles of rotary position embeddings, as Hugging Face's llama computes them: frequencies and angles rounded to f32.
 *
 *   inverse_frequency[i] = theta^(-2 i / d), i < d / 2;  angle = position * inverse_frequency[i]
 *
 * Llama 3.1's scaling divides frequencies whose wavelength exceeds the original context by `factor`, leaves short ones,
 * and blends in between.
 */
import type { RopeConfig } from "./config";

/** [d / 2], radians per position. */
export function inverseFrequencies({ theta, llama3 }: RopeConfig, d: number): Float32Array {
  return Float32Array.from({ length: d / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / d);
    if (!llama3) return frequency;
    const { factor, lowFreqFactor, highFreqFactor, originalContext } = llama3;
    // Turns over the original context: above highFreqFactor nothing changes, below lowFreqFactor all is stretched.
    const turns = (originalContext * frequency) / (2 * Math.PI);
    const blend = Math.min(1, Math.max(0, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)));
    return frequency * (blend + (1 - blend) / factor);
  });
}

/** Cosines and sines, each [positions, d / 2]. */
export function ropeTable(rope: RopeConfig, d: number, positions: number): { cos: Float32Array; sin: Float32Array } {
  const frequencies = inverseFrequencies(rope, d);
  const cos = new Float32Array((positions * d) / 2);
  const sin = new Float32Array((positions * d) / 2);
  for (let position = 0, at = 0; position < positions; position++)
    for (const frequency of frequencies) {
      const angle = Math.fround(position * frequency);
      cos[at] = Math.cos(angle);
      sin[at++] = Math.sin(angle);
    }
  return { cos, sin };
}
