/**
 * Twin of assign-feedback, to the last bit: f32, each product and difference rounded, j rising.
 *
 *   code[j] = nearest entry to x[j],  g[j] = (x[j] - palette[code[j]]) / U[j, j],  x[k] -= g[j] U[j, k] for k > j
 */
export interface AssignFeedbackArgs {
  /** One row, [cols]. */
  x: Float32Array;
  /** [2^bits], rising. */
  palette: Float32Array;
  /** U, [cols, cols]. */
  factor: Float32Array;
  /** Columns that get a code; absent: all. */
  coded?: number;
}

export interface AssignedRow {
  codes: Uint8Array;
  /** g, [cols]; from `coded` on what is left of x. */
  passed: Float32Array;
  /** Sum of g^2. */
  error: number;
  /** Of the values that were coded, how near the nearest border was. */
  margins: Float32Array;
}

export function assignFeedback({ x, palette, factor, coded = x.length }: AssignFeedbackArgs): AssignedRow {
  const cols = x.length;
  const { fround } = Math;
  const passed = x.slice();
  const codes = new Uint8Array(cols);
  const margins = new Float32Array(coded);
  const borders = Float32Array.from({ length: palette.length - 1 }, (_, k) => (palette[k] + palette[k + 1]) / 2);
  let error = 0;
  for (let j = 0; j < coded; j++) {
    codes[j] = borders.filter((border) => passed[j] > border).length;
    margins[j] = Math.min(...borders.map((border) => Math.abs(passed[j] - border)));
    passed[j] = fround(fround(passed[j] - palette[codes[j]]) * fround(1 / factor[j * cols + j]));
    error = fround(error + fround(passed[j] * passed[j]));
    for (let k = j + 1; k < cols; k++) passed[k] -= fround(passed[j] * factor[j * cols + k]);
  }
  return { codes, passed, error, margins };
}
