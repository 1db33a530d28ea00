import { afterEach, expect, it, vi } from "vitest";

afterEach(() => {
  vi.doUnmock("webgpu");
  vi.resetModules();
  vi.unstubAllEnvs();
});

/** requestNodeGpu on a machine whose drivers give these adapters. */
async function requestOn(requestAdapter: () => Promise<unknown>) {
  vi.resetModules();
  // A driver chosen by hand: nothing else is tried, and none of this machine's is loaded.
  vi.stubEnv("VK_ICD_FILENAMES", "chosen.json");
  vi.doMock("webgpu", () => ({ create: () => ({ requestAdapter }), globals: { GPUTestGlobal: 1 } }));
  const { requestNodeGpu } = await import("../../runtime/cli/gpu");
  return requestNodeGpu;
}

it("says what to do where no driver gives an adapter", async () => {
  const requestNodeGpu = await requestOn(async () => null);
  await expect(requestNodeGpu()).rejects.toMatchObject({
    name: "OchreError",
    code: "GPU_UNAVAILABLE",
    message: expect.stringMatching(/npm run browser.*--reference/),
  });
});

it("gives the same GPU every time, with WebGPU's globals defined", async () => {
  const requestNodeGpu = await requestOn(async () => ({}));
  expect(await requestNodeGpu()).toBe(await requestNodeGpu());
  expect(globalThis).toHaveProperty("GPUTestGlobal", 1);
});

it("names the package that is missing", async () => {
  vi.doMock("webgpu", () => {
    throw new Error("Cannot find package 'webgpu'");
  });
  const { requestNodeGpu } = await import("../../runtime/cli/gpu");
  await expect(requestNodeGpu()).rejects.toMatchObject({
    code: "GPU_UNAVAILABLE",
    message: expect.stringMatching(/npm install webgpu/),
  });
});
