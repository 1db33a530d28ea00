import type { KernelTier } from "./define-kernel";

/** How a matvec's threads share rows and columns. A slot is 4 rows; `LANES` consecutive threads share a slot's columns. */
export interface MatvecMapping {
  LANES: number;
  SLOTS: number;
  THREADS: number;
}

/** The most that KernelChoice.lanes may be, a power of two: 4 slots are WebGPU's default limit of 256 threads then. */
export const MOST_LANES = 64;

/**
 * Software adapters: a thread owns whole rows, since barriers cost tens of microseconds and contiguous reads win there.
 * GPUs: one 16-row block a workgroup. By itself, as many lanes as keep busy at this width (16 of 32-column steps from 1,536
 * columns on, 8 below: at 576 columns 16 lanes would idle 44 % of the time), but no more than a subgroup has where there are
 * subgroups, since a shuffle needs no barrier. Chosen lanes are as many as there are steps for, with or without subgroups:
 * few rows leave a large GPU idle unless many threads share each.
 */
export function matvecMapping(tier: KernelTier, cols: number): MatvecMapping {
  if (tier.software) return { LANES: 1, SLOTS: 16, THREADS: 16 };
  const lanes = tier.lanes > 0 ? chosenLanes(tier.lanes, cols) : lanesByWidth(tier, cols);
  return { LANES: lanes, SLOTS: 4, THREADS: 4 * lanes };
}

function lanesByWidth({ subgroupSize }: KernelTier, cols: number): number {
  const busy = cols >= 1536 ? 16 : 8;
  return subgroupSize >= 4 ? Math.min(busy, subgroupSize) : busy;
}

/** At most `most`, a power of two, and not more than there are steps. */
function chosenLanes(most: number, cols: number): number {
  let lanes = most;
  while (lanes > 1 && lanes > cols / 32) lanes /= 2;
  return lanes;
}
