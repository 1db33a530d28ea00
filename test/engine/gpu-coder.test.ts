/** What the compiler does on a GPU against what it does on the CPU. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addMoments } from "../../runtime/compute/multiply";
import type { Gpu } from "../../runtime/gpu/device";
import { codeBlocks } from "../../runtime/palettize/blocks";
import { inputMetric } from "../../runtime/palettize/feedback";
import { codeBlocksOnGpu } from "../../runtime/palettize/gpu-coder";
import { addMomentsOnGpu } from "../../runtime/palettize/gpu-moments";
import { nmse, normals, testGpu } from "../kernels/harness";

describe("addMomentsOnGpu", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each([
    { name: "whole", tokens: 70, cols: 150, pieceBytes: undefined },
    { name: "in pieces of a few tokens and bands of 64 rows", tokens: 70, cols: 150, pieceBytes: 50_000 },
    { name: "one column", tokens: 3, cols: 1, pieceBytes: undefined },
    { name: "of memory that threads share", tokens: 20, cols: 64, pieceBytes: undefined, shared: true },
  ])("$name: the CPU's, both halves", async ({ tokens, cols, pieceBytes, shared }) => {
    let x = normals(tokens * cols, 1);
    if (shared) {
      x = new Float32Array(new SharedArrayBuffer(x.byteLength));
      x.set(normals(tokens * cols, 1));
    }
    const expected = new Float32Array(cols * cols);
    addMoments(expected, normals(2 * cols, 3), 2);
    const actual = expected.slice();
    addMoments(expected, x, tokens);
    const before = gpu.bytes;
    await addMomentsOnGpu(gpu, actual, x, tokens, pieceBytes);
    if (gpu.info.isFallback) expect(actual).toEqual(expected);
    else expect(nmse(actual, expected)).toBeLessThan(1e-10);
    expect(gpu.bytes - before).toBeLessThan(1024);
  });

  it("a lost device is GPU_LOST", async () => {
    const lost = await testGpu();
    const running = addMomentsOnGpu(lost, new Float32Array(64 * 64), normals(64 * 640, 2), 640);
    lost.device.destroy();
    await expect(running).rejects.toMatchObject({ code: "GPU_LOST" });
  });
});

/** Inputs that go together and of which some move much more than others. */
function momentsOf(cols: number): Float32Array {
  const tokens = 2 * cols + 3;
  const x = normals(tokens * cols, 4).map((value, i) => (value + Math.sin(i / cols)) * (i % cols === 1 ? 30 : 1));
  const moments = new Float32Array(cols * cols);
  addMoments(moments, x, tokens);
  return moments;
}

describe("codeBlocksOnGpu", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  const CASES = [
    { name: "2 to 4 bits, rows not a multiple of 16, kept columns", rows: 59, cols: 150, kept: 8, widths: [4, 2, 3, 4] },
    { name: "in batches of a block and pieces of 32 columns", rows: 48, cols: 100, pieceBytes: 12_800 },
    { name: "one column", rows: 20, cols: 1 },
    { name: "zero rows, a block of one value, an outlier", rows: 64, cols: 64, change: true },
  ];

  it.each(CASES)("$name: the CPU's blocks", async ({ rows, cols, kept = 0, widths = [], pieceBytes, change }) => {
    const weight = normals(rows * cols, 5, 0.02);
    if (change) {
      weight.fill(0, 3 * cols, 20 * cols);
      weight.fill(0.25, 32 * cols, 48 * cols);
      weight[50 * cols + 7] = 20;
    }
    const inputs = inputMetric(momentsOf(cols), cols, kept);
    const bits = Uint8Array.from({ length: Math.ceil(rows / 16) }, (_, block) => widths[block] ?? 4);
    const expected = codeBlocks(weight.slice(), bits, cols, inputs);
    const before = gpu.bytes;
    const actual = await codeBlocksOnGpu(gpu, weight.slice(), bits, cols, inputs, pieceBytes);
    expect(gpu.bytes - before).toBeLessThan(1024);
    expect(actual.palettes).toEqual(expected.palettes);
    expect(actual.rowScale).toEqual(expected.rowScale);
    actual.outputErrors.forEach((error, block) => {
      expect(Math.abs(error - expected.outputErrors[block])).toBeLessThanOrEqual(1e-5 * expected.outputErrors[block]);
    });
    if (!gpu.info.isFallback) return;
    expect(actual.codes).toEqual(expected.codes);
    expect(actual.kept).toEqual(expected.kept);
    expect(actual.squaredErrors).toEqual(expected.squaredErrors);
  });

  it("a lost device is GPU_LOST", async () => {
    const lost = await testGpu();
    const running = codeBlocksOnGpu(lost, normals(16 * 64, 2), Uint8Array.of(4), 64, inputMetric(momentsOf(64), 64));
    lost.device.destroy();
    await expect(running).rejects.toMatchObject({ code: "GPU_LOST" });
  });
});
