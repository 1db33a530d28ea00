import { MOST_FEW, requireShape } from "./define-kernel";

/** The tokens of a step whose linears are computed by the decode kernels: wgsl/lib/few-tokens.wgsl. */
export interface FewTokens {
  /** Rows of x and y, at most MOST_FEW; those beyond the step's count are not written. Default 1. */
  tokens?: number;
  /** Floats from token to token of x. Default: its padded width. */
  xStride?: number;
  /** Floats from token to token of y. Default: its rows. */
  yStride?: number;
}

/** Constants of wgsl/lib/few-tokens.wgsl. @throws KernelShapeError */
export function fewTokens(kernel: string, cols: number, rows: number, few: FewTokens) {
  const { tokens = 1, xStride = cols, yStride = rows } = few;
  requireShape(kernel, tokens >= 1 && tokens <= MOST_FEW, `tokens must be 1 to ${MOST_FEW} but are ${tokens}.`);
  requireShape(
    kernel,
    xStride >= cols && xStride % 4 === 0,
    `xStride must be a multiple of 4 from ${cols} on but is ${xStride}.`,
  );
  requireShape(
    kernel,
    yStride >= rows && yStride % 4 === 0,
    `yStride must be a multiple of 4 from ${rows} on but is ${yStride}.`,
  );
  // One token has no stride: no other pipeline for another buffer.
  return { TOKENS: tokens, X_STRIDE: tokens > 1 ? xStride : cols, Y_STRIDE: tokens > 1 ? yStride : rows };
}
