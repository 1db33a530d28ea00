import { describe, expect, it } from "vitest";
import { inverseFactor } from "../../runtime/compute/inverse-factor";
import { assignWithFeedback, bordersOf, inputMetric, nearestCode } from "../../runtime/palettize/feedback";
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

describe("inputMetric", () => {
  it("inputs that never moved count alike, in their own order", () => {
    const { order, columnWeights } = inputMetric(new Float32Array(9), 3);
    expect([...columnWeights]).toEqual(Array(3).fill(Math.fround(1.01)));
    expect([...order]).toEqual([0, 1, 2]);
  });

  it("what moves most comes first, but last where it is kept", () => {
    const H = new Float32Array(25);
    [1, 5, 3, 5, 2].forEach((moment, c) => {
      H[c * 6] = moment;
    });
    expect([...inputMetric(H, 5).order]).toEqual([1, 3, 2, 4, 0]);
    const { order, kept, columnWeights } = inputMetric(H, 5, 2);
    expect([...order]).toEqual([2, 4, 0, 1, 3]);
    expect(kept).toBe(2);
    expect([...columnWeights.subarray(3)]).toEqual([0, 0]);
    expect(columnWeights[0]).toBeCloseTo(15 / 16 + 0.01, 6);
  });

  it("the factor is that of the moments in this order", () => {
    const H = moments(20, 3, 2);
    const { order, factor } = inputMetric(H, 20, 3);
    const ordered = Float32Array.from({ length: 400 }, (_, i) => H[order[Math.floor(i / 20)] * 20 + order[i % 20]]);
    expect(factor).toEqual(inverseFactor(ordered, 20, 0.01));
  });
});

describe("assignWithFeedback", () => {
  const n = 64;
  const rows = 10; // not all of the 16 that go together
  const values = makeRandom(5).normals(rows * n);
  const natural = Uint32Array.from({ length: n }, (_, c) => c);
  const metric = (H: Float32Array, kept = 0) => ({ order: natural, kept, factor: inverseFactor(H, n, 0.01) });
  const nearest = Uint8Array.from(values, (x) => nearestCode(x, bordersOf(PALETTE)));
  const errorsOf = (codes: Uint8Array) => values.map((x, i) => x - PALETTE[codes[i]]);
  const damped = (H: Float32Array) => {
    const mean = Array.from({ length: n }, (_, i) => H[i * n + i]).reduce((a, b) => a + b, 0) / n;
    return H.map((value, i) => (i % (n + 1) === 0 ? value + 0.01 * mean : value));
  };

  it("is rounding to the nearest where inputs are uncorrelated", () => {
    const identity = new Float32Array(n * n);
    for (let i = 0; i < n; i++) identity[i * n + i] = 1;
    const codes = new Uint8Array(rows * n);
    assignWithFeedback(values, PALETTE, codes, metric(identity));
    expect(codes).toEqual(nearest);
  });

  it("changes the output far less than rounding to the nearest where they are", () => {
    const H = moments(n, 6, 9);
    const codes = new Uint8Array(rows * n);
    assignWithFeedback(values, PALETTE, codes, metric(H));
    expect(outputError(errorsOf(codes), H, n)).toBeLessThan(outputError(errorsOf(nearest), H, n) / 4);
  });

  it.each([0, 5])("says what each row's error does to the output, under the damped moments; %i kept", (kept) => {
    const H = moments(n, 6, 9);
    const codes = new Uint8Array(rows * n);
    const before = values.slice();
    const { outputErrors, keptValues } = assignWithFeedback(values, PALETTE, codes, metric(H, kept));
    expect(values).toEqual(before);
    expect(outputErrors.length).toBe(rows);
    const errors = errorsOf(codes);
    for (let r = 0; r < rows; r++) {
      for (let j = 0; j < kept; j++) {
        const at = r * n + n - kept + j;
        expect(codes[at]).toBe(4);
        errors[at] = values[at] - keptValues[r * kept + j];
      }
      expect(outputErrors[r] / outputError(errors.subarray(r * n, (r + 1) * n), damped(H), n)).toBeCloseTo(1, 3);
    }
  });

  it("kept columns take what the others pass on", () => {
    const H = moments(n, 6, 9);
    const error = (kept: number) => {
      const codes = new Uint8Array(rows * n);
      return assignWithFeedback(values, PALETTE, codes, metric(H, kept)).outputErrors.reduce((a, b) => a + b, 0);
    };
    expect(error(8)).toBeLessThan(0.8 * error(0));
  });
});
