/** Low-rank terms y += scale * B (A x) beside a model's linears: layouts in wgsl/lib/adapter-terms.wgsl. */

/** Adapters that one step can add up. */
export const MOST_ADAPTERS = 2;
/** Of one adapter. */
export const MOST_RANK = 64;
/** Linears that share an input, stacked by rows. */
export const MOST_PARTS = 3;
/** Floats from token to token of z. */
export const RANK_STRIDE = MOST_PARTS * MOST_ADAPTERS * MOST_RANK;
/** Ranks are padded so that loops need no remainder. */
export const RANK_MULTIPLE = 4;
/** u32 words of a term in the table. */
export const TERM_WORDS = 4;

export interface AdapterBuffers {
  /** A and B of every adapter that is loaded, in f16. */
  arena: GPUBuffer;
  /** Which terms of the arena count, and how much: [terms, TERM_WORDS]. */
  table: GPUBuffer;
  /** f32 [tokens, RANK_STRIDE], A x of one input. */
  z: GPUBuffer;
}
