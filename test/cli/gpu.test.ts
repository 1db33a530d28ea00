import { afterEach, expect, it, vi } from "vitest";

afterEach(() => {
  vi.doUnmock("webgpu");
  vi.resetModules();
  vi.unstubAllEnvs();
});

/** requestNodeGpu on a machine whose drivers give these adapters. */
async function requestOn(requestAdapter: () => Promise<unknown>, globals: object = { GPUTestGlobal: 1 }) {
  vi.resetModules();
  // A driver chosen by hand: nothing else is tried, and none of this machine's is loaded.
  vi.stubEnv("VK_ICD_FILENAMES", "chosen.json");
  vi.doMock("webgpu", () => ({ create: () => ({ requestAdapter }), globals }));
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
  const requestNodeGpu = await requestOn(async () => ({ info: {} }));
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

it.each([true, false])("sleeps between Dawn's questions on a software adapter only: %s", async (isFallbackAdapter) => {
  let after = 0;
  const slow = () => new Promise((resolve) => (after ? setTimeout(resolve, after) : resolve(undefined)));
  const classes = {
    GPUQueue: class {},
    GPUBuffer: class {},
    GPUDevice: class {},
  };
  Object.assign(classes.GPUBuffer.prototype, { mapAsync: slow });
  Object.assign(classes.GPUQueue.prototype, { onSubmittedWorkDone: slow });
  Object.assign(classes.GPUDevice.prototype, { createComputePipelineAsync: slow });
  const requestNodeGpu = await requestOn(async () => ({ info: { isFallbackAdapter } }), classes);
  await requestNodeGpu();
  const buffer = new (globalThis as unknown as { GPUBuffer: new () => { mapAsync(): Promise<void> } }).GPUBuffer();
  // Promises one after another must not add up their sleeps.
  for (let i = 0; i < 50; i++) await buffer.mapAsync();
  after = 60;
  // Turns of the event loop while a mapping is pending, as Dawn's own polling would make them.
  let turns = 0;
  let pending = true;
  const poll = () => {
    turns++;
    if (pending) setImmediate(poll);
  };
  setImmediate(poll);
  await buffer.mapAsync();
  pending = false;
  if (isFallbackAdapter) {
    expect(turns).toBeLessThan(100);
    expect(turns).toBeGreaterThan(10);
  } else expect(turns).toBeGreaterThan(200);
  for (const name of Object.keys(classes)) Reflect.deleteProperty(globalThis, name);
});
