/**
 * A kernel's operands and what its twin makes of them, as data: shared by `selfTest` on a visitor's device and by the tests.
 * The case lists beside this file hold one to three for every kernel, each with the edge that the kernel is most likely to get
 * wrong; the tests under test/kernels/ go through many more.
 */
import type { KernelTier, Recorder } from "../../../kernels/define-kernel";
import type { Allocator } from "./data";

export interface KernelCase {
  /** Base name of the shader. */
  kernel: string;
  /** What is special about the operands. */
  name: string;
  /** Largest normalised mean square error that passes. */
  gate(tier: KernelTier): number;
  /** Puts the operands on the GPU and asks the twin what must come out: for a tier's limits, whatever its choices. */
  prepare(on: Allocator, tier: KernelTier): PreparedCase;
}

export interface PreparedCase {
  record(recorder: Recorder): void;
  /** What to read back, each with what of it to compare: all its floats unless `of` says otherwise. */
  outputs: { buffer: GPUBuffer; of?: (bytes: ArrayBuffer) => ArrayLike<number>; expected: ArrayLike<number> }[];
}

/** Sums in f32 of operands in f32. */
export const f32Gate = () => 1e-10;
/** Tiles in f16 where the tier has it, sums in f32. */
export const tileGate = ({ f16 }: KernelTier) => (f16 ? 1e-6 : 1e-10);
/** Whole numbers that must be the same. */
export const exactGate = () => 0;
