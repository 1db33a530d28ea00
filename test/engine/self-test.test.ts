/** `model.selfTest()` on this machine's GPU, and that it sees a kernel that computes something else. */
import fs from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { COMPILE_CASES } from "../../runtime/engine/self-test/cases-compile";
import { KERNEL_CASES, type SelfTestRow, selfTest } from "../../runtime/engine/self-test/self-test";
import type { Gpu } from "../../runtime/gpu/device";
import { testGpu } from "../kernels/harness";

const KERNELS = fs
  .readdirSync(new URL("../../wgsl", import.meta.url))
  .filter((name) => name.endsWith(".wgsl"))
  .map((name) => name.slice(0, -".wgsl".length));

describe("selfTest", () => {
  let gpu: Gpu;
  let rows: SelfTestRow[];
  const seen: SelfTestRow[] = [];
  let bytes: number;

  beforeAll(async () => {
    gpu = await testGpu();
    bytes = gpu.bytes;
    rows = await selfTest(gpu, { onRow: (row) => seen.push(row) }, [...KERNEL_CASES, ...COMPILE_CASES]);
  }, 300_000);
  afterAll(() => gpu.destroy());

  it("finds every kernel right, in every variant, and gives each a time", () => {
    expect(rows.filter(({ ok, ms }) => !(ok && ms! > 0))).toEqual([]);
    expect(seen).toEqual(rows);
  });

  it("leaves out no kernel", () => {
    expect(KERNELS.filter((kernel) => !rows.some((row) => row.kernel === kernel))).toEqual([]);
  });

  it("tries both mappings of a kernel that has two, and each variant once", () => {
    const variants = rows.filter((row) => row.kernel === "head-int8").map((row) => row.variant);
    expect(variants.some((variant) => variant.endsWith(", software mapping"))).toBe(true);
    expect(variants.some((variant) => variant.endsWith(", GPU mapping"))).toBe(true);
    expect(new Set(variants).size).toBe(variants.length);
  });

  it("tries tables in f32 and as many lanes as there may be", () => {
    const variants = rows.filter((row) => row.kernel === "matvec-palette" && row.case.startsWith("64 x 1536"));
    expect(variants.map(({ variant }) => variant.split(", ").slice(1).join(", "))).toEqual(
      expect.arrayContaining(["software mapping", "GPU mapping", "GPU mapping, f32 pairs", "GPU mapping, 32 lanes"]),
    );
  });

  it("gives back what its operands took", () => {
    // Uniforms of shapes stay: they are shared by equal contents.
    expect(gpu.bytes - bytes).toBeLessThan(1024);
  });

  it("stops with the signal's reason", async () => {
    const abort = new AbortController();
    const running = selfTest(gpu, { signal: abort.signal, onRow: () => abort.abort("enough") });
    await expect(running).rejects.toBe("enough");
  });
});

it("sees a kernel that computes something else, one that computes nothing, and one that does not compile", async () => {
  const corrupted: Record<string, [original: string, wrong: string]> = {
    "rms-inverse": ["inverseSqrt(", "sqrt("],
    "sample-pick": ["state.done != 0u", "state.count != 0u"],
    "head-int8": ["fn main(", "fn main"],
  };
  const gpu = await testGpu();
  const create = gpu.device.createShaderModule.bind(gpu.device);
  vi.spyOn(gpu.device, "createShaderModule").mockImplementation((descriptor) => {
    const [original, wrong] = corrupted[descriptor.label!.split(" ", 1)[0]] ?? ["", ""];
    if (!descriptor.code.includes(original)) throw new Error(`${descriptor.label} does not hold ${original}`);
    return create({ ...descriptor, code: descriptor.code.replace(original, wrong) });
  });
  const kernels = [...Object.keys(corrupted), "attention-merge"];
  const rows = await selfTest(
    gpu,
    {},
    KERNEL_CASES.filter(({ kernel }) => kernels.includes(kernel)),
  );
  gpu.destroy();
  const found = (name: string) => rows.find(({ kernel }) => kernel === name)!;
  expect(found("rms-inverse")).toMatchObject({ ok: false, nmse: expect.any(Number) });
  expect(found("sample-pick")).toMatchObject({ ok: false, nmse: expect.any(Number) });
  expect(found("head-int8")).toMatchObject({ ok: false, error: expect.any(String) });
  expect(found("head-int8")).not.toHaveProperty("ms");
  expect(found("attention-merge")).toMatchObject({ ok: true });
});
