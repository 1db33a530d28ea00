/** The trained numbers as one flat array, so that gradients, moments and files are one array each. */
import { linearShape, type ModelSizes } from "../formats/check-tensors";
import { LINEARS, type LinearName } from "../formats/palettized";
import type { LowRank } from "../formats/peft";

/** One layer's low-rank terms. */
export type LayerTerms = Record<LinearName, LowRank>;

export function parameterCount(sizes: ModelSizes, rank: number): number {
  const shapes = LINEARS.map((linear) => linearShape(sizes, linear));
  return sizes.L * rank * shapes.reduce((sum, [rows, cols]) => sum + rows + cols, 0);
}

/** Views of `values`, [parameterCount]: layer by layer, each linear's A and then its B. */
export function layerTerms(sizes: ModelSizes, rank: number, values: Float32Array): LayerTerms[] {
  let at = 0;
  const take = (length: number) => {
    at += length;
    return values.subarray(at - length, at);
  };
  return Array.from({ length: sizes.L }, () => {
    const terms = {} as LayerTerms;
    for (const linear of LINEARS) {
      const [rows, cols] = linearShape(sizes, linear);
      terms[linear] = { rank, a: take(rank * cols), b: take(rows * rank) };
    }
    return terms;
  });
}
