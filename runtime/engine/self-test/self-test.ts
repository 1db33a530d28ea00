/** Every kernel against its twin on this very device, in every variant that the device can run; the same cases give its speed. */
import type { Dispatch, KernelTier, Recorder } from "../../../kernels/define-kernel";
import { MOST_LANES } from "../../../kernels/matvec-mapping";
import { OchreError } from "../../errors";
import type { Gpu } from "../../gpu/device";
import { Program } from "../../gpu/program";
import { ADAPTER_CASES } from "./cases-adapter";
import { ATTENTION_CASES } from "./cases-attention";
import { DECODE_INT8_CASES } from "./cases-decode-int8";
import { DENSE_CASES } from "./cases-dense";
import { LINEAR_CASES } from "./cases-linear";
import { PREFILL_INT8_CASES } from "./cases-prefill-int8";
import { TOKEN_CASES } from "./cases-token";
import { type Allocator, nmse, readBytes } from "./data";
import type { KernelCase, PreparedCase } from "./kernel-case";

export interface SelfTestRow {
  /** Base name of the shader. */
  kernel: string;
  case: string;
  /** The shader's variant, and the choices that matter to the kernel: mapping, tables, lanes. */
  variant: string;
  /** Normalised mean square error against the twin; absent where the kernel did not run. */
  nmse?: number;
  /** The largest that passes. */
  gate: number;
  ok: boolean;
  /** Of one dispatch (with what belongs to it: the merge after attention, the pick after sampling). */
  ms?: number;
  /** What it reads and writes, growing lengths at their most. */
  bytes: number;
  /** Why the kernel did not run. */
  error?: string;
}

export interface SelfTestOptions {
  onRow?: (row: SelfTestRow) => void;
  signal?: AbortSignal;
}

/** Of all kernels that a model runs on. Those of the compiler are tested apart, for they load with it (COMPILE_CASES). */
export const KERNEL_CASES: readonly KernelCase[] = [
  ...LINEAR_CASES,
  ...DECODE_INT8_CASES,
  ...PREFILL_INT8_CASES,
  ...DENSE_CASES,
  ...ADAPTER_CASES,
  ...ATTENTION_CASES,
  ...TOKEN_CASES,
];

/** Replays of one timing at most, and how long it may take. */
const MOST_REPLAYS = 64;
const TIMING_MS = 20;

/** @throws OchreError GPU_LOST; the signal's reason on abort. Whatever else goes wrong with a kernel is in its row. */
export async function selfTest(gpu: Gpu, { onRow, signal }: SelfTestOptions = {}, cases = KERNEL_CASES): Promise<SelfTestRow[]> {
  const rows: SelfTestRow[] = [];
  for (const kernelCase of cases) {
    const seen = new Set<string>();
    let ready: ReadyCase | undefined; // of a tier that dispatches what another did: the next tier's
    try {
      for (const tier of tiers(gpu.tier)) {
        signal?.throwIfAborted();
        ready ??= new ReadyCase(gpu, kernelCase);
        const key = fingerprint(ready, tier);
        if (seen.has(key)) continue;
        seen.add(key);
        const row = await testOnce(gpu, ready, tier);
        ready = undefined;
        rows.push(row);
        onRow?.(row);
      }
    } finally {
      ready?.release();
    }
  }
  return rows;
}

/** The cases of `kernels` on one tier, once each and untimed: whether a choice may be trusted on this device. */
export async function* checkKernels(gpu: Gpu, tier: KernelTier, kernels: ReadonlySet<string>): AsyncGenerator<SelfTestRow> {
  for (const kernelCase of KERNEL_CASES) {
    if (!kernels.has(kernelCase.kernel)) continue;
    yield await testOnce(gpu, new ReadyCase(gpu, kernelCase), tier, { timed: false });
  }
}

/**
 * What the device runs by itself, then with each feature left out, all of it with the other mapping too, then every other choice
 * of the GPU's mapping, one at a time: they do not touch each other's code.
 */
function tiers(own: KernelTier): KernelTier[] {
  const features = [own];
  if (own.f16) features.push({ ...own, f16: false });
  if (own.subgroupSize > 0) features.push({ ...own, subgroupSize: 0 });
  const mappings = [...features, ...features.map((tier) => ({ ...tier, software: !tier.software }))];
  const gpu = { ...own, software: false };
  const lanes = [0, MOST_LANES].map((lanes) => ({ ...gpu, lanes })); // those between differ by a constant
  return [...mappings, { ...gpu, f32Pairs: !own.f32Pairs }, { ...gpu, int8: !own.int8 }, ...lanes];
}

/** Releases the case's operands: what a kernel adds to its output would be there twice. */
async function testOnce(gpu: Gpu, ready: ReadyCase, tier: KernelTier, { timed = true } = {}): Promise<SelfTestRow> {
  const { kernel, name, gate } = ready.kernelCase;
  try {
    const bytes = dispatched(ready, tier).reduce((sum, { cost }) => sum + cost.bytesRead + cost.bytesWritten, 0);
    const row = { kernel, case: name, bytes, variant: describeVariant(ready, tier), gate: gate(tier) };
    try {
      const { error, ms } = await validated(gpu, () => run(gpu, ready.prepared, tier, timed));
      return { ...row, nmse: error, ok: error <= row.gate, ms };
    } catch (error) {
      if (error instanceof OchreError && error.code === "GPU_LOST") throw error;
      return { ...row, ok: false, error: error instanceof Error ? error.message : String(error) };
    }
  } finally {
    ready.release();
  }
}

/** The shader's variant, and of the choices those that change what is dispatched. */
function describeVariant(ready: ReadyCase, tier: KernelTier): string {
  const key = fingerprint(ready, tier);
  const matters = (other: Partial<KernelTier>) => fingerprint(ready, { ...tier, ...other }) !== key;
  const [{ variant, overrides }] = dispatched(ready, tier);
  const parts = [variant || "portable"];
  if (matters({ software: !tier.software })) parts.push(tier.software ? "software mapping" : "GPU mapping");
  if (tier.f32Pairs && matters({ f32Pairs: false })) parts.push("f32 pairs");
  if (matters({ lanes: 0 })) parts.push(`${overrides.LANES} lanes`);
  return parts.join(", ");
}

/** What the device refuses while `work` goes on is thrown here, instead of being laid at the next kernel's door. */
async function validated<T>({ device }: Gpu, work: () => Promise<T>): Promise<T> {
  device.pushErrorScope("validation");
  const [outcome] = await Promise.allSettled([work()]);
  const refusal = await device.popErrorScope();
  if (outcome.status === "rejected") throw outcome.reason;
  if (refusal) throw new Error(refusal.message);
  return outcome.value;
}

/** Once for the result, then again and again for the time: what a kernel adds to its output no longer matters then. */
async function run(gpu: Gpu, prepared: PreparedCase, tier: KernelTier, timed: boolean): Promise<{ error: number; ms: number }> {
  const program = await Program.record(gpu, (recorder) => prepared.record(recorder), tier);
  let ms = await replay(gpu, program, 1);
  let error = 0;
  for (const { buffer, of = (bytes: ArrayBuffer) => new Float32Array(bytes), expected } of prepared.outputs) {
    error = Math.max(error, nmse(of(await readBytes(gpu, buffer)), expected));
  }
  const times = Math.min(MOST_REPLAYS, Math.floor(TIMING_MS / ms));
  if (timed && times > 1) ms = (await replay(gpu, program, times)) / times;
  return { error, ms };
}

/** Milliseconds from the submit to its end. */
async function replay(gpu: Gpu, program: Program, times: number): Promise<number> {
  const { device } = gpu;
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (let i = 0; i < times; i++) program.replay(pass);
  pass.end();
  const startedAt = performance.now();
  device.queue.submit([encoder.finish()]);
  await device.queue.onSubmittedWorkDone();
  gpu.check();
  return performance.now() - startedAt;
}

function dispatched({ prepared }: ReadyCase, tier: KernelTier): Dispatch[] {
  const list: Dispatch[] = [];
  const recorder: Recorder = { tier, dispatch: (dispatch) => void list.push(dispatch) };
  prepared.record(recorder);
  return list;
}

const fingerprint = (ready: ReadyCase, tier: KernelTier): string =>
  JSON.stringify(
    dispatched(ready, tier).map(({ kernel, variant, overrides, workgroups }) => [kernel.name, variant, overrides, workgroups]),
  );

/** A case with its operands on the GPU, which are released together. */
class ReadyCase implements Allocator {
  readonly kernelCase: KernelCase;
  readonly prepared: PreparedCase;
  private readonly made: GPUBuffer[] = [];
  private readonly gpu: Gpu;

  constructor(gpu: Gpu, kernelCase: KernelCase) {
    this.gpu = gpu;
    this.kernelCase = kernelCase;
    try {
      this.prepared = kernelCase.prepare(this, gpu.tier);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  buffer(label: string, bytes: number, usage?: GPUBufferUsageFlags): GPUBuffer {
    return this.keep(this.gpu.buffer(label, bytes, usage));
  }

  upload(label: string, data: ArrayBufferView, usage?: GPUBufferUsageFlags): GPUBuffer {
    return this.keep(this.gpu.upload(label, data, usage));
  }

  release(): void {
    for (const buffer of this.made.splice(0)) this.gpu.release(buffer);
  }

  private keep(buffer: GPUBuffer): GPUBuffer {
    this.made.push(buffer);
    return buffer;
  }
}
