import { expect } from "vitest";
import { int8Row, unpackInt8Row } from "../../kernels/reference/int8-row";
import { nmse } from "./harness";

/** Row `t` in `bytes` is `values` [cols] in int8; where a quotient nearly ties, f32 may take the neighbour. */
export function expectInt8Row(bytes: ArrayBuffer, t: number, values: ArrayLike<number>): void {
  const row = unpackInt8Row(bytes, values.length, t);
  const expected = int8Row(values);
  expect(nmse(row.scales, expected.scales)).toBeLessThan(1e-12);
  const exact = (c: number) => values[c] / expected.scales[c >> 4];
  const wrong = expected.codes.findIndex(
    (code, c) => row.codes[c] !== code && Math.abs(Math.abs(row.codes[c] - exact(c)) - 0.5) > 1e-4,
  );
  expect(wrong).toBe(-1);
}
