import { describe, expect, it } from "vitest";
import { scriptKernel, wasmKernel } from "../../runtime/compute/kernel";
import { addMoments, momentPanels, multiply, multiplyTransposed } from "../../runtime/compute/multiply";
import { multiply as referenceMultiply } from "../../runtime/engine/reference/linear";
import { makeRandom } from "../palettize/random";

const gaussian = (length: number, seed: number) => makeRandom(seed).normals(length);

/** `toEqual` takes seconds for as many numbers. */
function expectSame(actual: Float32Array, expected: Float32Array) {
  expect(actual.length).toBe(expected.length);
  expect(actual.findIndex((value, i) => value !== expected[i])).toBe(-1);
}

/** Every sum in order, each product and sum rounded. */
function inOrder(length: number, product: (i: number) => number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum = Math.fround(sum + Math.fround(product(i)));
  return sum;
}

/** Rows, columns and tokens below, at and above the sizes of panels and blocks. */
const SHAPES: [rows: number, cols: number, T: number][] = [
  [1, 1, 1],
  [3, 5, 2],
  [4, 8, 8],
  [17, 576, 9],
  [260, 513, 17],
  [5, 1537, 520],
];

describe.each([
  ["WebAssembly", wasmKernel],
  ["JavaScript", scriptKernel],
])("products in %s", (_, make) => {
  const kernel = make();

  it.each(SHAPES)("multiply %i x %i for %i tokens sums in order, in f32", (rows, cols, T) => {
    const [weight, x] = [gaussian(rows * cols, 1), gaussian(T * cols, 2)];
    const y = multiply(weight, x, T, kernel);
    const expected = Float32Array.from({ length: T * rows }, (_, i) => {
      const [t, r] = [Math.floor(i / rows), i % rows];
      return inOrder(cols, (c) => weight[r * cols + c] * x[t * cols + c]);
    });
    expectSame(y, expected);
  });

  it.each(SHAPES)("multiplyTransposed %i x %i for %i tokens sums in order, in f32", (rows, cols, T) => {
    const [weight, g] = [gaussian(rows * cols, 1), gaussian(T * rows, 2)];
    const dx = multiplyTransposed(weight, g, T, kernel);
    const expected = Float32Array.from({ length: T * cols }, (_, i) => {
      const [t, c] = [Math.floor(i / cols), i % cols];
      return inOrder(rows, (r) => weight[r * cols + c] * g[t * rows + r]);
    });
    expectSame(dx, expected);
  });

  it.each([
    [1, 3],
    [7, 12],
    [600, 20],
  ])("moments of %i tokens of %i columns sum in order, in one call or panel by panel", (T, cols) => {
    const x = gaussian(T * cols, 3);
    const moments = new Float32Array(cols * cols);
    addMoments(moments, x, T, undefined, kernel);
    const expected = Float32Array.from({ length: cols * cols }, (_, i) =>
      inOrder(T, (t) => x[t * cols + Math.floor(i / cols)] * x[t * cols + (i % cols)]),
    );
    expectSame(moments, expected);
    const parts = new Float32Array(cols * cols);
    const half = T >> 1;
    for (const panel of Array(momentPanels(cols)).keys()) {
      if (half > 0) addMoments(parts, x.subarray(0, half * cols), half, [panel, panel + 1], kernel);
      addMoments(parts, x.subarray(half * cols), T - half, [panel, panel + 1], kernel);
    }
    expectSame(parts, expected);
  });
});

it("is close to the reference model's product in f64", () => {
  const [weight, x] = [gaussian(64 * 576, 1), gaussian(9 * 576, 2)];
  const y = multiply(weight, x, 9);
  const apart = referenceMultiply(weight, x, 9).map((expected, i) => Math.abs(y[i] - expected));
  expect(Math.max(...apart)).toBeLessThan(1e-4);
});
