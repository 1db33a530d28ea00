import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attentionMerge } from "../../kernels/attention-merge";
import { attentionMerge as twin } from "../../kernels/reference/attention-merge";
import { roomForRows } from "../../runtime/engine/self-test/int8";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readBytes, readFloats, runOnce, stepState, testGpu } from "./harness";
import { expectInt8Row } from "./int8-rows";

/** The worst case is a split whose maximum lies far below the others: its weight underflows to zero and must do no harm. */
const CASES = [
  { name: "one split", live: 1, splits: 1, spread: 1 },
  { name: "three of eight splits live", live: 3, splits: 8, spread: 1 },
  { name: "maxima hundreds apart", live: 5, splits: 5, spread: 300 },
];

describe("attention-merge", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ live, splits, spread }) => {
    const [H, d, keys] = [3, 64, 256];
    const m = normals(H * splits, 1, spread);
    const l = normals(H * splits, 2).map((v) => 1 + Math.abs(v));
    const sums = normals(H * splits * d, 3);
    const stats = new Float32Array(2 * H * splits).fill(Number.NaN);
    for (let h = 0; h < H; h++)
      for (let s = 0; s < live; s++) stats.set([m[h * splits + s], l[h * splits + s]], 2 * (h * splits + s));
    const o = gpu.buffer("o", 4 * H * d, READABLE);
    const o8 = roomForRows(gpu, H * d);
    await runOnce(gpu, (recorder) =>
      attentionMerge(recorder, {
        H,
        d,
        split: { splits, unitKeys: keys },
        partialSums: gpu.upload("partial", sums),
        stats: gpu.upload("stats", stats),
        state: stepState(gpu, { position: live * keys - 1 }),
        o,
        oStride: H * d,
        o8,
        int8: true,
        tokens: 1,
      }),
    );
    const keep = <T extends Float32Array>(data: T, width: number) =>
      Float32Array.from(
        { length: H * live * width },
        (_, i) => data[Math.floor(i / (live * width)) * splits * width + (i % (live * width))],
      );
    const expected = twin({ m: keep(m, 1), l: keep(l, 1), o: keep(sums, d), H, splits: live, d });
    const actual = await readFloats(gpu, o);
    expect(nmse(actual, expected)).toBeLessThan(1e-10);
    expectInt8Row(await readBytes(gpu, o8), 0, actual);
  });
});
