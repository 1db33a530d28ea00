import { describe, expect, it } from "vitest";
import { inverseFactor } from "../../runtime/compute/inverse-factor";
import { scriptDoubleKernel, wasmDoubleKernel } from "../../runtime/compute/kernel";
import { addMoments } from "../../runtime/compute/multiply";
import { makeRandom } from "../palettize/random";

const DAMPING = 0.01;

function randomMoments(n: number): Float32Array {
  const T = n + 3;
  const moments = new Float32Array(n * n);
  addMoments(moments, makeRandom(n).normals(T * n), T);
  return moments;
}

/** The definition, one value at a time. */
function expected(moments: Float32Array, n: number): Float32Array {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += moments[i * n + i];
  const ridge = (DAMPING * trace) / n;
  const lower = new Float64Array(n * n);
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = moments[n * n - 1 - i * n - j] + (i === j ? ridge : 0);
      for (let k = 0; k < j; k++) sum -= lower[i * n + k] * lower[j * n + k];
      lower[i * n + j] = i === j ? Math.sqrt(sum) : sum / lower[j * n + j];
    }
    const scale = 1 / lower[i * n + i];
    for (let j = 0; j < i; j++) for (let k = j; k < i; k++) inverse[i * n + j] += lower[i * n + k] * -scale * inverse[k * n + j];
    inverse[i * n + i] = scale;
  }
  return Float32Array.from(inverse).reverse();
}

describe.each([
  ["WebAssembly", wasmDoubleKernel],
  ["JavaScript", scriptDoubleKernel],
])("inverseFactor in %s", (_, make) => {
  const kernel = make();

  it.each([40, 1, 7, 16, 131, 33, 530])("sums in order, in f64, n = %i", (n) => {
    const moments = randomMoments(n);
    const factor = inverseFactor(moments, n, DAMPING, kernel);
    const defined = expected(moments, n);
    expect(factor.findIndex((value, i) => value !== defined[i])).toBe(-1);
  });

  it.each([1, 2, 7, 40])("U is upper triangular and U^T U inverts the damped moments, n = %i", (n) => {
    const H = randomMoments(n);
    const U = inverseFactor(H, n, DAMPING, kernel);
    const mean = Array.from({ length: n }, (_, i) => H[i * n + i]).reduce((a, b) => a + b, 0) / n;
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(U[i * n + j]).toBe(0);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let product = 0; // (U^T U H)[i, j]
        for (let k = 0; k < n; k++) {
          let entry = 0;
          for (let l = 0; l < n; l++) entry += U[l * n + i] * U[l * n + k];
          product += entry * (H[k * n + j] + (k === j ? DAMPING * mean : 0));
        }
        expect(Math.abs(product - (i === j ? 1 : 0))).toBeLessThan(2e-3);
      }
    }
  });

  it("inputs that never moved give the identity", () => {
    expect([...inverseFactor(new Float32Array(9), 3, DAMPING, kernel)]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  });
});
