/** Low-rank terms beside a linear: two small dispatches, z = A x and y += scale * B z, for all adapters of the step at once. */
import { adapterDown } from "../../kernels/adapter-down";
import { adapterUp } from "../../kernels/adapter-up";
import { MOST_FEW } from "../../kernels/define-kernel";
import { linearShape } from "../formats/check-tensors";
import { PALETTE_ROWS, padTo } from "../formats/palettized";
import { firstTerm } from "./adapter-store";
import type { LayerAt } from "./blocks";
import { STACKS } from "./stacks";
import type { LayerWeights } from "./weights";

export interface TermArgs {
  x: GPUBuffer;
  /** int8 rows of x, which linears of a few tokens read where the step is in int8. */
  x8: GPUBuffer;
  xStride: number;
  /** Of the linear, padded. */
  cols: number;
  norm?: { eps: number; cols: number };
  y: GPUBuffer;
  yStride: number;
}

/** y += what the step's adapters add to a linear; nothing where it has none. */
export function addTerms({ recorder, step, tokens, layer, adapted }: LayerAt, name: keyof LayerWeights, args: TermArgs): void {
  if (!adapted) return;
  const { x, x8, xStride, cols, norm, y, yStride } = args;
  const { adapters, config } = adapted;
  const linears = STACKS[name];
  const terms = { adapters, firstTerm: firstTerm(layer, linears[0]), state: step.state, tokens };
  const int8 = step.int8 && tokens <= MOST_FEW;
  adapterDown(recorder, { ...terms, linears: linears.length, x: int8 ? x8 : x, int8, cols, xStride, norm });
  adapterUp(recorder, {
    ...terms,
    rows: linears.map((linear) => padTo(linearShape(config, linear)[0], PALETTE_ROWS)),
    y,
    yStride,
  });
}
