import { describe, expect, it } from "vitest";
import { Feedback } from "../../runtime/compute/feedback";
import { scriptKernel, wasmKernel } from "../../runtime/compute/kernel";
import { makeRandom } from "../palettize/random";

const { fround } = Math;

/** Upper triangular, with a diagonal away from 0. */
function randomFactor(cols: number, seed: number): Float32Array {
  const factor = makeRandom(seed).normals(cols * cols);
  for (let j = 0; j < cols; j++) {
    for (let k = 0; k < j; k++) factor[j * cols + k] = 0;
    factor[j * cols + j] = 3 + Math.abs(factor[j * cols + j]);
  }
  return factor;
}

/** The definition, one value at a time. */
function expected(values: Float32Array, cols: number, factor: Float32Array) {
  const rows = values.length / cols;
  const work = values.slice();
  const codes: number[] = [];
  const sums = new Float64Array(rows);
  for (let j = 0; j < cols; j++) {
    const inverse = fround(1 / factor[j * cols + j]);
    for (let r = 0; r < rows; r++) {
      const x = work[r * cols + j];
      codes.push(Math.round(x));
      const g = fround(fround(x - Math.round(x)) * inverse);
      sums[r] += g * g;
      for (let k = j + 1; k < cols; k++) work[r * cols + k] = fround(work[r * cols + k] - fround(g * factor[j * cols + k]));
    }
  }
  return { codes, sums };
}

describe.each([
  ["WebAssembly", wasmKernel],
  ["JavaScript", scriptKernel],
])("feedback in %s", (_, make) => {
  const kernel = make();

  it.each([
    [16, 96],
    [1, 1],
    [3, 31],
    [9, 33],
    [16, 131],
    [8, 66],
  ])("%i rows of %i columns: each error goes on to every later column, in order, in f32", (rows, cols) => {
    const factor = randomFactor(cols, cols);
    const feedback = new Feedback(factor, cols, kernel);
    for (let block = 0; block < 2; block++) {
      const values = makeRandom(rows + block).normals(rows * cols);
      const before = values.slice();
      const codes: number[] = [];
      const sums = feedback.run(values, (column, x, errors) => {
        expect(column).toBe(codes.length / rows);
        for (let lane = 0; lane < x.length; lane++) {
          const rounded = Math.round(x[lane]);
          if (lane < rows) codes.push(rounded);
          errors[lane] = x[lane] - rounded;
        }
      });
      expect({ codes, sums }).toEqual(expected(values, cols, factor));
      expect(values).toEqual(before);
    }
  });

  it("two of them take turns on one memory", () => {
    const [a, b] = [randomFactor(40, 1), randomFactor(70, 2)];
    const [first, second] = [new Feedback(a, 40, kernel), new Feedback(b, 70, kernel)];
    const round = (_: number, x: Float32Array, errors: Float32Array) => {
      for (let lane = 0; lane < x.length; lane++) errors[lane] = x[lane] - Math.round(x[lane]);
    };
    const [short, long] = [makeRandom(3).normals(4 * 40), makeRandom(4).normals(4 * 70)];
    expect(first.run(short, round)).toEqual(expected(short, 40, a).sums);
    expect(second.run(long, round)).toEqual(expected(long, 70, b).sums);
    expect(first.run(short, round)).toEqual(expected(short, 40, a).sums);
  });
});
