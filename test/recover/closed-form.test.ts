import { describe, expect, it } from "vitest";
import { multiply } from "../../runtime/compute/multiply";
import { fitLowRank } from "../../runtime/recover/closed-form";
import { transpose } from "../../runtime/recover/matrix";
import { makeRandom } from "../palettize/random";

const random = makeRandom(5);

/** Second moments of inputs of which few directions are large. */
function makeMoments(cols: number): Float32Array {
  const x = random.normals(3 * cols * cols).map((value, i) => value / (1 + (i % cols)));
  const transposed = transpose(x, 3 * cols, cols);
  return multiply(transposed, transposed, cols);
}

/** tr E H E^T */
function outputError(error: Float32Array, moments: Float32Array, rows: number): number {
  const product = multiply(moments, error, rows);
  return error.reduce((sum, value, i) => sum + value * product[i], 0);
}

function remainder(error: Float32Array, { a, b }: { a: Float32Array; b: Float32Array }, rank: number): Float32Array {
  const cols = a.length / rank;
  const rows = b.length / rank;
  const product = multiply(transpose(a, rank, cols), b, rows);
  return error.map((value, i) => value - product[i]);
}

const empty = (rows: number, cols: number, rank: number) => ({
  a: new Float32Array(rank * cols),
  b: new Float32Array(rows * rank),
});

describe("fitLowRank", () => {
  const [rows, cols] = [40, 24];
  const error = random.normals(rows * cols);
  const moments = makeMoments(cols);
  const before = outputError(error, moments, rows);
  const left = (rank: number) => {
    const terms = empty(rows, cols, rank);
    fitLowRank(terms, error, moments, rows, 1);
    return outputError(remainder(error, terms, rank), moments, rows);
  };

  it("finds an error of that rank whole", () => {
    const [b, a] = [random.normals(rows * 3), random.normals(3 * cols)];
    const low = multiply(transpose(a, 3, cols), b, rows);
    const terms = empty(rows, cols, 4);
    fitLowRank(terms, low, moments, rows, 1);
    for (const value of remainder(low, terms, 4)) expect(Math.abs(value)).toBeLessThan(1e-4);
  });

  it("leaves what the smaller eigenvalues of E H E^T sum to, and less with each rank", () => {
    // Deflation by power iteration, in another way: one eigenvector of E H E^T at a time.
    let rest = error;
    const expected: number[] = [before];
    for (let rank = 1; rank <= 4; rank++) {
      let u = random.normals(rows);
      for (let i = 0; i < 400; i++) {
        u = multiply(rest, multiply(moments, multiply(transpose(rest, rows, cols), u, 1), 1), 1);
        const length = Math.hypot(...u);
        u = u.map((value) => value / length);
      }
      rest = remainder(rest, { a: multiply(transpose(rest, rows, cols), u, 1), b: u }, 1);
      expected.push(outputError(rest, moments, rows));
    }
    for (const rank of [1, 2, 4]) expect(Math.abs(left(rank) / expected[rank] - 1)).toBeLessThan(0.03);
  });

  it("beats the best term that does not know the inputs", () => {
    const terms = empty(rows, cols, 4);
    const identity = Float32Array.from({ length: cols * cols }, (_, i) => (i % (cols + 1) === 0 ? 1 : 0));
    fitLowRank(terms, error, identity, rows, 1);
    expect(left(4)).toBeLessThan(0.9 * outputError(remainder(error, terms, 4), moments, rows));
  });

  it("leaves A and B of one length, and components beyond the rows or of no error at zero", () => {
    const terms = empty(3, cols, 5);
    fitLowRank(terms, error.subarray(0, 3 * cols), moments, 3, 1);
    for (let i = 0; i < 5; i++) {
      const a = Math.hypot(...terms.a.subarray(i * cols, (i + 1) * cols));
      const b = Math.hypot(...[0, 1, 2].map((r) => terms.b[r * 5 + i]));
      expect(a).toBeCloseTo(b, 4);
      expect(a > 0).toBe(i < 3);
    }
    const none = empty(rows, cols, 2);
    fitLowRank(none, new Float32Array(rows * cols), moments, rows, 1);
    expect([...none.a, ...none.b].every((value) => value === 0)).toBe(true);
  });
});
