/** Codes that can be cut, and kept columns: what a linear then does to its outputs. */
import { describe, expect, it } from "vitest";
import { narrowLinear } from "../../runtime/formats/narrow";
import { dequantizeLinear, type PalettizedLinear } from "../../runtime/formats/palettized-linear";
import { inputMetric } from "../../runtime/palettize/feedback";
import { palettizeLinear } from "../../runtime/palettize/linear";
import { makeRandom } from "./random";

const [rows, cols] = [48, 160];
const random = makeRandom(3);
const weight = random.normals(rows * cols);
/** Second moments of correlated inputs, three of which are huge. */
const H = (() => {
  const tokens = 400;
  const mix = random.normals(cols * cols);
  const moments = new Float32Array(cols * cols);
  for (let t = 0; t < tokens; t++) {
    const source = random.normals(cols);
    const x = Float32Array.from({ length: cols }, (_, c) => {
      let sum = 3 * source[c];
      for (let k = 0; k < 12; k++) sum += mix[c * cols + k] * source[k];
      return [5, 77, 140].includes(c) ? 20 * sum : sum;
    });
    for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) moments[i * cols + j] += x[i] * x[j];
  }
  return moments;
})();

/** e H e^T over all rows, e the error of what the linear stands for. */
function outputError(linear: PalettizedLinear): number {
  const e = dequantizeLinear(linear, rows, cols).map((value, i) => value - weight[i]);
  let sum = 0;
  for (let row = 0; row < e.length; row += cols)
    for (let i = 0; i < cols; i++) for (let j = 0; j < cols; j++) sum += e[row + i] * H[i * cols + j] * e[row + j];
  return sum;
}

const compile = (bits: number[], kept: number, elastic: boolean) =>
  palettizeLinear(weight.slice(), Uint8Array.from(bits), rows, cols, inputMetric(H, cols, kept), elastic);
const cut = (linear: PalettizedLinear, bits: number[]) => narrowLinear(linear, Uint8Array.from(bits), cols);

describe("an elastic linear", () => {
  it("is nearly as good at 4 bits as one made for them, and far better at 3 than that one", () => {
    const { linear } = compile([4, 4, 4], 3, true);
    const four = compile([4, 4, 4], 3, false).linear;
    expect(outputError(linear)).toBeLessThan(2 * outputError(four));
    expect(outputError(cut(linear, [3, 3, 3]))).toBeLessThan(0.6 * outputError(cut(four, [3, 3, 3])));
  });

  it("has a palette for every width that a block contains, and the codes of that width in its first bits", () => {
    const { linear } = compile([4, 2, 3], 0, true);
    expect([linear.palette4, linear.palette3, linear.palette2].map((palette) => palette?.length)).toEqual([16, 16, 12]);
    const three = compile([3, 2, 3], 0, false).linear;
    const narrowed = cut(linear, [3, 2, 3]);
    expect(narrowed.palette3).toEqual(three.palette3);
    expect(dequantizeLinear(narrowed, rows, cols)).toEqual(dequantizeLinear(three, rows, cols));
  });

  it("needs no inputs", () => {
    const { linear } = palettizeLinear(weight.slice(), Uint8Array.of(4, 4, 4), rows, cols, undefined, true);
    const error = (bits: number[]) =>
      dequantizeLinear(cut(linear, bits), rows, cols).reduce((sum, value, i) => sum + (value - weight[i]) ** 2, 0) /
      weight.length;
    expect(error([4, 4, 4])).toBeLessThan(0.012);
    expect(error([3, 3, 3])).toBeLessThan(0.037);
    expect(error([2, 2, 2])).toBeLessThan(0.15);
  });
});

describe("kept columns", () => {
  it("are those whose inputs move most, rising, and take error away", () => {
    const { linear, outputErrors } = compile([4, 3, 2], 3, false);
    expect([...linear.kept!.index]).toEqual([5, 77, 140]);
    expect(linear.kept!.values.length).toBe(3 * rows);
    expect(outputError(linear)).toBeLessThan(0.8 * outputError(compile([4, 3, 2], 0, false).linear));
    expect(outputError(linear)).toBeLessThan(outputErrors.reduce((sum, error) => sum + error, 0));
  });

  it("are cut to fewer bits without a loss of their own", () => {
    const { linear } = compile([4, 4, 4], 3, true);
    const [wide, narrow] = [linear, cut(linear, [3, 2, 4])].map((each) => dequantizeLinear(each, rows, cols));
    for (let i = 0; i < wide.length; i++)
      if ([5, 77, 140].includes(i % cols)) expect(Math.abs(wide[i] - narrow[i])).toBeLessThan(2e-3);
  });
});
