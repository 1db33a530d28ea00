/**
 * The one owner of a WebGPU device: what it offers, every object made on it (counted, so that tests can prove that a
 * steady state makes none), errors and loss in our own words.
 */
import type { Dispatch, KernelChoice, KernelSpec, KernelTier } from "../../kernels/define-kernel";
import { OchreError } from "../errors";
import { priorChoice } from "./prior-choice";

export interface GpuOptions {
  powerPreference?: GPUPowerPreference;
  /** Features to leave unused although the device has them. */
  disable?: readonly ("shader-f16" | "subgroups")[];
  /** Kernels to force: tests run the GPU's on software adapters. Default: by what the adapter is. */
  choice?: Partial<KernelChoice>;
}

export interface GpuInfo {
  vendor: string;
  architecture: string;
  /** The adapter's name for itself; empty where the browser keeps it to itself. */
  description: string;
  /** WebGPU features in use. */
  features: string[];
  /** A software adapter. */
  isFallback: boolean;
}

export interface LossInfo {
  reason: string;
  message: string;
}

/** Tiles of 32 columns fit in it; with WebGPU's default of 16 KiB they have 16. */
const WANTED_WORKGROUP_BYTES = 32768;

/** What the kernels cannot do without: WebGPU's defaults, which only a compatibility adapter may lack. */
const NEEDED_LIMITS = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16384,
} as const;

export class Gpu {
  readonly device: GPUDevice;
  readonly info: GpuInfo;
  /** WGSL has dot4I8Packed here: int8 kernels compile. Whether they are fast is another question. */
  readonly packedDot: boolean;
  /** Resolves when the device is lost for another reason than destroy(). */
  readonly lost: Promise<LossInfo>;
  /** Objects made so far. */
  readonly made = { buffers: 0, bindGroups: 0, pipelines: 0 };
  /** Bytes of the buffers that are alive. */
  bytes = 0;
  /** Buffers that others have taken the place of, so far: programs look here before they run. */
  replaced = 0;
  private currentTier: KernelTier;
  private loss: LossInfo | undefined;
  private failure: OchreError | undefined;
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  private readonly pipelines = new Map<string, Promise<GPUComputePipeline>>();
  /** Buffers made by the `allocating` call under way. */
  private allocation: GPUBuffer[] | undefined;
  private readonly uniforms = new Map<string, GPUBuffer>();
  private readonly modules = new Map<string, GPUShaderModule>();
  private readonly successors = new WeakMap<GPUBuffer, GPUBuffer>();

  private constructor(device: GPUDevice, tier: KernelTier, info: GpuInfo, packedDot: boolean) {
    this.device = device;
    this.currentTier = tier;
    this.info = info;
    this.packedDot = packedDot;
    this.lost = new Promise((resolve) => {
      device.lost.then(({ reason, message }) => {
        this.loss = { reason, message };
        if (reason !== "destroyed") resolve(this.loss);
      });
    });
    device.addEventListener("uncapturederror", (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      const code = error instanceof GPUOutOfMemoryError ? "GPU_MEMORY" : "INTERNAL";
      this.failure ??= new OchreError(code, `[gpu] ${error.message}`);
    });
  }

  /**
   * Requests an adapter and a device with what the kernels can use of it.
   * @throws OchreError GPU_UNAVAILABLE without an adapter, or where it refuses a device.
   */
  static async request(gpu: GPU, { powerPreference, disable = [], choice }: GpuOptions = {}): Promise<Gpu> {
    const adapter = await gpu.requestAdapter({ powerPreference });
    if (!adapter) {
      throw new OchreError(
        "GPU_UNAVAILABLE",
        "[gpu] a WebGPU adapter is needed but the browser offers none. Update the browser or its graphics driver, or enable hardware acceleration.",
      );
    }
    const offered = (["shader-f16", "subgroups"] as const).filter(
      (name) => adapter.features.has(name) && !disable.includes(name),
    );
    const { limits } = adapter;
    for (const [name, needed] of Object.entries(NEEDED_LIMITS)) {
      const offered = limits[name as keyof typeof NEEDED_LIMITS];
      if (offered < needed) {
        throw new OchreError("GPU_UNAVAILABLE", `[gpu] ${name} must be at least ${needed} but this adapter offers ${offered}.`, {
          details: { limit: name, needed, offered },
        });
      }
    }
    const workgroupBytes = Math.min(limits.maxComputeWorkgroupStorageSize, WANTED_WORKGROUP_BYTES);
    const device = await adapter
      .requestDevice({
        label: "ochre",
        requiredFeatures: [...offered],
        requiredLimits: {
          maxBufferSize: limits.maxBufferSize,
          maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
          maxComputeWorkgroupStorageSize: workgroupBytes,
        },
      })
      .catch((cause) => {
        throw new OchreError("GPU_UNAVAILABLE", `[gpu] the adapter refused a device: ${String(cause)}`, { cause });
      });
    const { vendor, architecture, description, subgroupMinSize } = adapter.info;
    const isFallback = adapter.info.isFallbackAdapter ?? false;
    const packedDot = gpu.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") ?? false;
    const tier: KernelTier = {
      f16: offered.includes("shader-f16"),
      subgroupSize: offered.includes("subgroups") ? (subgroupMinSize ?? 4) : 0,
      workgroupBytes,
      ...priorChoice({ vendor, architecture, isFallback, packedDot }),
      ...choice,
    };
    return new Gpu(device, tier, { vendor, architecture, description, features: [...offered], isFallback }, packedDot);
  }

  /** What kernels recorded from now on may use, and which of them are chosen. */
  get tier(): KernelTier {
    return this.currentTier;
  }

  get choice(): KernelChoice {
    const { software, int8, f32Pairs, lanes } = this.currentTier;
    return { software, int8, f32Pairs, lanes };
  }

  /** Changes what is recorded from now on; programs that are there stay as they are. */
  choose(choice: KernelChoice): void {
    this.currentTier = { ...this.currentTier, ...choice };
  }

  /** A zeroed buffer. @throws OchreError GPU_MEMORY when it is larger than the device's limits. */
  buffer(label: string, bytes: number, usage: GPUBufferUsageFlags = GPUBufferUsage.STORAGE): GPUBuffer {
    const size = Math.max(16, 4 * Math.ceil(bytes / 4));
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = usage & GPUBufferUsage.STORAGE ? Math.min(maxBufferSize, maxStorageBufferBindingSize) : maxBufferSize;
    if (size > most) {
      throw new OchreError("GPU_MEMORY", `[gpu] ${label} needs a buffer of ${size} bytes but this device allows ${most}.`, {
        details: { label, bytes: size, limit: most },
      });
    }
    this.made.buffers++;
    this.bytes += size;
    const buffer = this.device.createBuffer({ label, size, usage: usage | GPUBufferUsage.COPY_DST });
    this.allocation?.push(buffer);
    return buffer;
  }

  /** A buffer that holds `data`. */
  upload(label: string, data: ArrayBufferView, usage: GPUBufferUsageFlags = GPUBufferUsage.STORAGE): GPUBuffer {
    const buffer = this.buffer(label, data.byteLength, usage);
    this.write(buffer, 0, data);
    return buffer;
  }

  /** Copies `data` into a buffer; a tail shorter than a word is filled up with zeros. */
  write(buffer: GPUBuffer, offset: number, data: ArrayBufferView): void {
    const whole = data.byteLength & ~3;
    this.device.queue.writeBuffer(buffer, offset, data.buffer, data.byteOffset, whole);
    if (whole < data.byteLength) {
      const tail = new Uint8Array(4);
      tail.set(new Uint8Array(data.buffer, data.byteOffset + whole, data.byteLength - whole));
      this.device.queue.writeBuffer(buffer, offset + whole, tail);
    }
  }

  release(buffer: GPUBuffer): void {
    this.bytes -= buffer.size;
    buffer.destroy();
  }

  /** `successor` takes the place of `buffer`, which is released, in every program from its next run on. */
  replace(buffer: GPUBuffer, successor: GPUBuffer): void {
    this.successors.set(buffer, successor);
    this.replaced++;
    this.release(buffer);
  }

  /** What stands for `buffer` now: itself, unless it was replaced. */
  current(buffer: GPUBuffer): GPUBuffer {
    let successor: GPUBuffer | undefined = buffer;
    for (let last = buffer; ; last = successor) {
      successor = this.successors.get(last);
      if (!successor) return last;
    }
  }

  /** The pipeline of a dispatch, compiled once for each kernel, variant and set of overrides. */
  pipeline({ kernel, variant, overrides }: Pick<Dispatch, "kernel" | "variant" | "overrides">): Promise<GPUComputePipeline> {
    const key = `${kernel.name}|${variant}|${JSON.stringify(overrides)}`;
    let pipeline = this.pipelines.get(key);
    if (!pipeline) {
      this.made.pipelines++;
      pipeline = this.device.createComputePipelineAsync({
        label: key,
        layout: this.device.createPipelineLayout({ bindGroupLayouts: [this.layout(kernel)] }),
        compute: { module: this.module(kernel, variant), constants: overrides },
      });
      this.pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  bindGroup({ kernel, buffers, shape }: Pick<Dispatch, "kernel" | "buffers" | "shape">): GPUBindGroup {
    this.made.bindGroups++;
    const bound = Object.keys(kernel.bindings).map((name) => this.current(buffers[name]));
    if (shape) bound.push(this.uniform(shape));
    return this.device.createBindGroup({
      label: kernel.name,
      layout: this.layout(kernel),
      entries: bound.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
  }

  /** Rejects with what went wrong on the device since the last call: loss, memory, a validation error. */
  check(): void {
    if (this.loss) throw new OchreError("GPU_LOST", `[gpu] the device was lost (${this.loss.reason}): ${this.loss.message}`);
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
  }

  /**
   * Runs `make` and waits until the GPU has accepted its buffers: all of them, or none is kept.
   * @throws OchreError GPU_MEMORY, and what `make` throws.
   */
  async allocating<T>(make: () => T): Promise<T> {
    this.device.pushErrorScope("out-of-memory");
    const buffers: GPUBuffer[] = [];
    const giveBack = () => {
      for (const buffer of buffers) this.release(buffer);
    };
    let made: T;
    this.allocation = buffers;
    try {
      made = make();
    } catch (error) {
      giveBack();
      await this.device.popErrorScope();
      throw error;
    } finally {
      this.allocation = undefined;
    }
    const error = await this.device.popErrorScope();
    if (!error) return made;
    giveBack();
    throw new OchreError("GPU_MEMORY", `[gpu] the GPU has no room left: ${error.message}`);
  }

  destroy(): void {
    this.device.destroy();
    this.bytes = 0;
  }

  private module(kernel: KernelSpec, variant: string): GPUShaderModule {
    const label = variant ? `${kernel.name} (${variant})` : kernel.name;
    let module = this.modules.get(label);
    if (!module) {
      module = this.device.createShaderModule({ label, code: kernel.shader[variant] });
      this.modules.set(label, module);
    }
    return module;
  }

  /** A uniform buffer of u32 fields; equal contents share one. */
  private uniform(fields: readonly number[]): GPUBuffer {
    const key = fields.join();
    let buffer = this.uniforms.get(key);
    if (!buffer) {
      const padded = new Uint32Array(4 * Math.ceil(fields.length / 4));
      padded.set(fields);
      buffer = this.upload("shape", padded, GPUBufferUsage.UNIFORM);
      this.uniforms.set(key, buffer);
    }
    return buffer;
  }

  private layout(kernel: KernelSpec): GPUBindGroupLayout {
    let layout = this.layouts.get(kernel.name);
    if (!layout) {
      const types: GPUBufferBindingType[] = Object.values(kernel.bindings).map((access) =>
        access === "read" ? "read-only-storage" : "storage",
      );
      if (kernel.shape) types.push("uniform");
      layout = this.device.createBindGroupLayout({
        label: kernel.name,
        entries: types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })),
      });
      this.layouts.set(kernel.name, layout);
    }
    return layout;
  }
}
