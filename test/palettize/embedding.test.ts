import { describe, expect, it } from "vitest";
import { f16ArrayToF32, f16ToF32 } from "../../runtime/formats/f16";
import { PART_BYTES, quantizeTable, tableParts } from "../../runtime/palettize/embedding";
import { makeRandom } from "./random";

describe("quantizeTable", () => {
  it("is within half a step everywhere, and uses the whole range of every row", () => {
    const [rows, cols] = [40, 96];
    const values = makeRandom(1)
      .normals(rows * cols)
      .map((x, i) => x * 10 ** ((i % rows) / 8 - 3));
    const { codes, rowScale } = quantizeTable("table", values, rows, cols);
    const scales = f16ArrayToF32(rowScale);
    for (let r = 0; r < rows; r++) {
      const row = codes.subarray(r * cols, (r + 1) * cols);
      expect(Math.max(...row.map(Math.abs))).toBe(127);
      row.forEach((code, c) => {
        expect(Math.abs(values[r * cols + c] - code * scales[r])).toBeLessThanOrEqual(0.501 * scales[r]);
      });
    }
  });

  it("codes stay within 127 for every magnitude, subnormal scales too", () => {
    for (let exponent = -30; exponent < 22; exponent += 0.25) {
      const largest = Math.fround(2 ** exponent);
      const { codes, rowScale } = quantizeTable("table", Float32Array.of(largest, -largest, largest / 3), 1, 3);
      const scale = f16ToF32(rowScale[0]);
      expect(Math.abs(codes[0] * scale - largest)).toBeLessThanOrEqual(0.51 * scale);
      expect(Math.abs(codes[1] * scale + largest)).toBeLessThanOrEqual(0.51 * scale);
    }
  });

  it("a row of zeros has scale 0", () => {
    expect(quantizeTable("table", new Float32Array(8), 2, 4)).toEqual({ codes: new Int8Array(8), rowScale: new Uint16Array(2) });
  });

  it("refuses a row that no f16 scale reaches", () => {
    expect(() => quantizeTable("model.embed_tokens", Float32Array.of(1, 1e9), 2, 1)).toThrow(/row 1 of model.embed_tokens/);
  });
});

describe("tableParts", () => {
  it.each([
    [49152, 576],
    [128256, 2048],
    [50, 24],
    [1, 1],
  ])("[%i, %i] is cut into parts of at most 8 MB", (rows, cols) => {
    const parts = tableParts(rows, cols);
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(rows);
    expect(Math.max(...parts) * cols).toBeLessThanOrEqual(PART_BYTES);
    expect(parts.length).toBe(Math.ceil(rows / Math.floor(PART_BYTES / cols)));
  });
});
