/** What the compiler does on a GPU against what it does on the CPU. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addMoments } from "../../runtime/compute/multiply";
import type { Gpu } from "../../runtime/gpu/device";
import { gpuMoments } from "../../runtime/palettize/gpu-moments";
import { nmse, normals, testGpu } from "../kernels/harness";

describe("gpuMoments", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each([
    { name: "whole", tokens: 70, cols: 150, pieceBytes: undefined },
    { name: "in pieces of a few tokens and bands of 64 rows", tokens: 70, cols: 150, pieceBytes: 50_000 },
    { name: "one column", tokens: 3, cols: 1, pieceBytes: undefined },
  ])("$name: the CPU's, both halves", async ({ tokens, cols, pieceBytes }) => {
    const x = normals(tokens * cols, 1);
    const expected = new Float32Array(cols * cols);
    addMoments(expected, x, tokens);
    const before = gpu.bytes;
    const actual = await gpuMoments(gpu, x, tokens, pieceBytes);
    if (gpu.info.isFallback) expect(actual).toEqual(expected);
    else expect(nmse(actual, expected)).toBeLessThan(1e-10);
    expect(gpu.bytes - before).toBeLessThan(1024);
  });

  it("a lost device is GPU_LOST", async () => {
    const lost = await testGpu();
    const running = gpuMoments(lost, normals(64 * 640, 2), 640);
    lost.device.destroy();
    await expect(running).rejects.toMatchObject({ code: "GPU_LOST" });
  });
});
