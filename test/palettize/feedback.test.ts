import { describe, expect, it } from "vitest";
import { assignWithFeedback, inputMetric, inverseFactor } from "../../runtime/palettize/feedback";
import { assignNearest } from "../../runtime/palettize/linear";
import { makeRandom } from "./random";

/** Second moments of correlated inputs: `rank` strong directions on top of noise. */
function moments(n: number, rank: number, seed: number): Float32Array {
  const random = makeRandom(seed);
  const H = new Float32Array(n * n);
  for (let k = 0; k < rank; k++) {
    const direction = random.normals(n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) H[i * n + j] += 10 * direction[i] * direction[j];
  }
  for (let i = 0; i < n; i++) H[i * n + i] += 1;
  return H;
}

/** e H e^T summed over the rows of e [rows, n]: the squared change of the layer's output. */
function outputError(e: Float32Array, H: Float32Array, n: number): number {
  let sum = 0;
  for (let row = 0; row < e.length; row += n)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) sum += e[row + i] * H[i * n + j] * e[row + j];
  return sum;
}

const PALETTE = Float32Array.of(-2.2, -1.3, -0.8, -0.25, 0.25, 0.8, 1.3, 2.2);

describe("inverseFactor", () => {
  it.each([1, 2, 7, 40])("U is upper triangular and U^T U inverts the damped moments, n = %i", (n) => {
    const H = moments(n, 3, n);
    const U = inverseFactor(H, n);
    const mean = Array.from({ length: n }, (_, i) => H[i * n + i]).reduce((a, b) => a + b, 0) / n;
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(U[i * n + j]).toBe(0);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let product = 0; // (U^T U H)[i, j]
        for (let k = 0; k < n; k++) {
          let entry = 0;
          for (let l = 0; l < n; l++) entry += U[l * n + i] * U[l * n + k];
          product += entry * (H[k * n + j] + (k === j ? 0.01 * mean : 0));
        }
        expect(Math.abs(product - (i === j ? 1 : 0))).toBeLessThan(2e-3);
      }
    }
  });

  it("inputs that never moved give the identity's factor", () => {
    expect([...inverseFactor(new Float32Array(9), 3)]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
    expect([...inputMetric(new Float32Array(9), 3).columnWeights]).toEqual(Array(3).fill(Math.fround(1.01)));
  });
});

describe("assignWithFeedback", () => {
  const n = 64;
  const rows = 10; // not a multiple of the four rows that go together
  const values = makeRandom(5).normals(rows * n);

  it("is rounding to the nearest where inputs are uncorrelated", () => {
    const identity = new Float32Array(n * n);
    for (let i = 0; i < n; i++) identity[i * n + i] = 1;
    const fed = new Uint8Array(rows * n);
    const nearest = new Uint8Array(rows * n);
    assignWithFeedback(values, PALETTE, fed, [0, rows], n, inverseFactor(identity, n));
    assignNearest(values, PALETTE, nearest, 0, values.length);
    expect(fed).toEqual(nearest);
  });

  it("changes the output far less than rounding to the nearest where they are", () => {
    const H = moments(n, 6, 9);
    const codes = new Uint8Array(rows * n);
    const error = () =>
      outputError(
        values.map((x, i) => x - PALETTE[codes[i]]),
        H,
        n,
      );
    assignNearest(values, PALETTE, codes, 0, values.length);
    const nearest = error();
    assignWithFeedback(values, PALETTE, codes, [0, rows], n, inverseFactor(H, n));
    expect(error()).toBeLessThan(nearest / 4);
  });

  it("says what each row's error does to the output, under the damped moments", () => {
    const H = moments(n, 6, 9);
    const codes = new Uint8Array(rows * n);
    const told = assignWithFeedback(values, PALETTE, codes, [2, rows], n, inverseFactor(H, n));
    const mean = Array.from({ length: n }, (_, i) => H[i * n + i]).reduce((a, b) => a + b, 0) / n;
    const damped = H.map((value, i) => (i % (n + 1) === 0 ? value + 0.01 * mean : value));
    expect(told.length).toBe(rows - 2);
    told.forEach((error, i) => {
      const row = values.slice((i + 2) * n, (i + 3) * n).map((x, c) => x - PALETTE[codes[(i + 2) * n + c]]);
      expect(error / outputError(row, damped, n)).toBeCloseTo(1, 3);
    });
  });

  it("leaves the values and the other rows' codes alone", () => {
    const before = values.slice();
    const codes = new Uint8Array(rows * n).fill(9);
    assignWithFeedback(values, PALETTE, codes, [4, 7], n, inverseFactor(moments(n, 2, 3), n));
    expect(values).toEqual(before);
    expect(new Set([...codes.subarray(0, 4 * n), ...codes.subarray(7 * n)])).toEqual(new Set([9]));
    expect(codes.subarray(4 * n, 7 * n).every((code) => code < 8)).toBe(true);
  });
});
