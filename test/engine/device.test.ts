import { afterEach, describe, expect, it } from "vitest";
import { attentionPrefill } from "../../kernels/attention-prefill";
import { matvecPalette } from "../../kernels/matvec-palette";
import { ropeKvWrite } from "../../kernels/rope-kv-write";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { headLayout, INT8 } from "../../runtime/engine/self-test/caches";
import { Gpu } from "../../runtime/gpu/device";
import { Program } from "../../runtime/gpu/program";

/** A GPU whose adapter is the machine's, with some of its limits replaced. */
async function limitedGpu(limits: Record<string, number>, requestDevice?: GPUAdapter["requestDevice"]): Promise<GPU> {
  const adapter = (await (await requestNodeGpu()).requestAdapter())!;
  const fake = {
    features: adapter.features,
    info: adapter.info,
    limits: new Proxy(adapter.limits, { get: (target, name) => limits[String(name)] ?? Reflect.get(target, name) }),
    requestDevice: requestDevice ?? ((descriptor: GPUDeviceDescriptor) => adapter.requestDevice(descriptor)),
  };
  return { requestAdapter: async () => fake } as unknown as GPU;
}

describe("Gpu", () => {
  const opened: Gpu[] = [];
  const open = async (gpu: GPU) => {
    opened.push(await Gpu.request(gpu));
    return opened[opened.length - 1];
  };
  afterEach(() => {
    for (const gpu of opened.splice(0)) gpu.destroy();
  });

  it("says plainly that there is no adapter", async () => {
    const none = { requestAdapter: async () => null } as unknown as GPU;
    await expect(Gpu.request(none)).rejects.toMatchObject({ code: "GPU_UNAVAILABLE" });
  });

  it("names the limit that an adapter lacks", async () => {
    const gpu = await limitedGpu({ maxStorageBuffersPerShaderStage: 4 });
    await expect(Gpu.request(gpu)).rejects.toMatchObject({
      code: "GPU_UNAVAILABLE",
      details: { limit: "maxStorageBuffersPerShaderStage", needed: 8, offered: 4 },
    });
  });

  it("passes on why an adapter refuses a device", async () => {
    const gpu = await limitedGpu({}, () => Promise.reject(new Error("no")));
    await expect(Gpu.request(gpu)).rejects.toMatchObject({ code: "GPU_UNAVAILABLE", message: /refused a device.*no/ });
  });

  it("refuses a buffer beyond the device's limits with both numbers", async () => {
    const gpu = await open(await limitedGpu({ maxStorageBufferBindingSize: 134217728, maxBufferSize: 268435456 }));
    expect(() => gpu.buffer("the head", 134217732)).toThrow(
      expect.objectContaining({ code: "GPU_MEMORY", details: { label: "the head", bytes: 134217732, limit: 134217728 } }),
    );
    expect(gpu.bytes).toBe(0);
  });

  it("keeps none of an allocation that fails on the way", async () => {
    const gpu = await open(await limitedGpu({ maxStorageBufferBindingSize: 134217728, maxBufferSize: 268435456 }));
    const allocating = gpu.allocating(() => [gpu.buffer("keys", 4096), gpu.buffer("values", 134217732)]);
    await expect(allocating).rejects.toMatchObject({ code: "GPU_MEMORY", details: { label: "values" } });
    expect(gpu.bytes).toBe(0);
    await gpu.allocating(() => gpu.buffer("keys", 4096));
    expect(gpu.bytes).toBe(4096);
  });

  it("reports a lost device on the next check", async () => {
    const gpu = await open(await requestNodeGpu());
    gpu.check();
    gpu.device.destroy();
    await gpu.device.lost;
    expect(() => gpu.check()).toThrow(expect.objectContaining({ code: "GPU_LOST" }));
  });

  it("reports a validation error once", async () => {
    const gpu = await open(await requestNodeGpu());
    gpu.device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    await gpu.device.queue.onSubmittedWorkDone();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(() => gpu.check()).toThrow(expect.objectContaining({ code: "INTERNAL" }));
    gpu.check();
  });

  it("compiles a kernel once for equal overrides", async () => {
    const gpu = await open(await requestNodeGpu());
    const heads = headLayout(2, 1, 16);
    const buffer = (label: string) => gpu.buffer(label, 4096);
    const kv = { k: buffer("k"), v: buffer("v"), scales: buffer("scales"), maxTokens: 8, format: INT8 };
    const args = { heads, qkv: buffer("qkv"), cosSin: buffer("cos_sin"), state: buffer("state"), kv, tokens: 1 };
    await Program.record(gpu, (recorder) => ropeKvWrite(recorder, args));
    await Program.record(gpu, (recorder) => ropeKvWrite(recorder, args));
    expect(gpu.made.pipelines).toBe(1);
  });
});

describe("impossible shapes", () => {
  it.each([
    { name: "head size 24 in prefill", message: /attention-prefill.*multiple of 16.*24/ },
    { name: "head size 6 in RoPE", message: /rope-kv-write.*multiple of 16.*6/ },
    { name: "cols not padded", message: /matvec-palette.*multiple of 64.*100/ },
  ])("$name: KERNEL_SHAPE that says what came", async ({ name, message }) => {
    const gpu = await Gpu.request(await requestNodeGpu());
    const b = gpu.buffer("any", 64);
    const kv = { k: b, v: b, scales: b, maxTokens: 8, format: INT8 };
    const recorded = Program.record(gpu, (recorder) => {
      if (name.includes("prefill"))
        attentionPrefill(recorder, { heads: headLayout(2, 1, 24), qkv: b, kv, state: b, o: b, oStride: 64, tokens: 2 });
      else if (name.includes("RoPE"))
        ropeKvWrite(recorder, { heads: headLayout(2, 1, 6), qkv: b, cosSin: b, state: b, kv, tokens: 1 });
      else {
        const weights = { rows: 16, cols: 100, plane0: b, plane1: b, plane2: b, blocks: b, bytes: 0 };
        matvecPalette(recorder, { weights, x: b, state: b, y: b });
      }
    });
    await expect(recorded).rejects.toMatchObject({ code: "KERNEL_SHAPE", message });
    gpu.destroy();
  });
});
