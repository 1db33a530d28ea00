import type { KernelTier } from "./define-kernel";

/** How a matvec's threads share rows and columns. A slot is 4 rows; `LANES` consecutive threads share a slot's columns. */
export interface MatvecMapping {
  LANES: number;
  SLOTS: number;
  THREADS: number;
}

/**
 * GPUs: one 16-row block a workgroup, and as many lanes as keep busy at this width (16 of 32-column steps from 1,536 columns
 * on, 8 below: at 576 columns 16 lanes would idle 44 % of the time), but no more than a subgroup has where there are
 * subgroups, since a shuffle needs no barrier. Software adapters: a thread owns whole rows, since barriers cost tens of
 * microseconds and contiguous reads win there.
 */
export function matvecMapping(tier: KernelTier, cols: number): MatvecMapping {
  if (tier.software) return { LANES: 1, SLOTS: 16, THREADS: 16 };
  const busy = cols >= 1536 ? 16 : 8;
  const LANES = tier.subgroupSize >= 4 ? Math.min(busy, tier.subgroupSize) : busy;
  return { LANES, SLOTS: 4, THREADS: 4 * LANES };
}
