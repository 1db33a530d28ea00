import shader from "../wgsl/expand-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import type { Int8Weights } from "./int8-weights";
import { checkKept, checkWeights, keptWords, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "expand-int8",
  shader,
  bindings: { plane0: "read", plane1: "read", plane2: "read", blocks: "read", codes: "write", scales: "write" },
  shape: true,
});

export interface ExpandInt8Args {
  /** In planes at every width, as they were uploaded. */
  palettes: PaletteWeights;
  /** Of the same shape; codes and scales are written. */
  weights: Int8Weights;
}

/** Palettes to int8 codes and scales, once at load. Equation in wgsl/expand-int8.wgsl. */
export function expandInt8(recorder: Recorder, { palettes, weights }: ExpandInt8Args): void {
  const { plane0, plane1, plane2, blocks, rows, cols, bytes } = palettes;
  checkWeights(kernel.name, palettes);
  const kept = checkKept(kernel.name, palettes, false);
  const { codes, scales } = weights;
  kernel.record(recorder, {
    overrides: {},
    buffers: { plane0, plane1, plane2, blocks, codes, scales },
    shape: [cols, rows, keptWords(rows, kept) / 4],
    workgroups: [rows / 16],
    cost: { bytesRead: bytes, bytesWritten: weights.bytes, multiplyAdds: rows * cols },
  });
}
