/**
 * One kernel = `wgsl/NAME.wgsl` + `kernels/NAME.ts` (its binding) + `kernels/reference/NAME.ts` (the CPU twin)
 * + `test/kernels/NAME.test.ts`. A binding turns typed operands into one recorded dispatch and states its cost.
 */

/** What may be chosen among kernels that compute the same: by what the adapter is, or by what ran fastest on it. */
export interface KernelChoice {
  /** A software adapter: barriers are dear, nothing coalesces, one thread a row is best. */
  software: boolean;
  /** Linears multiply 8-bit integers four at a time (dot4I8Packed): palettes and activations are rounded to int8. */
  int8: boolean;
  /** Tables of palette pairs hold f32 instead of f16: for GPUs that cannot multiply-add halves into f32. */
  f32Pairs: boolean;
  /** Threads that share a row's columns in decode; 0: by the row's width. */
  lanes: number;
}

/** What a device offers and a shader may be specialised for, and what was chosen for it. */
export interface KernelTier extends KernelChoice {
  f16: boolean;
  /** Smallest subgroup that the device may run; 0 without the feature. */
  subgroupSize: number;
  /** Bytes of workgroup memory a kernel may use. */
  workgroupBytes: number;
}

/** Tokens of a step up to which the decode kernels compute it, with the same bits as one by one; above, tiles do. */
export const MOST_FEW = 8;

/** What a software adapter runs in step: with more threads to a workgroup it switches between them at each barrier. */
export const SOFTWARE_THREADS = 4;

/** Build-time variants of one WGSL file: key "" is portable; "f16", "subgroups", "f16+subgroups" where the file has them. */
export type ShaderVariants = Readonly<Record<string, string>>;

/** A kernel was asked for a shape that it cannot compute; programs turn it into OchreError KERNEL_SHAPE. */
export class KernelShapeError extends Error {}

/** @throws KernelShapeError `[kernel] message` unless `holds`. */
export function requireShape(kernel: string, holds: boolean, message: string): void {
  if (!holds) throw new KernelShapeError(`[${kernel}] ${message}`);
}

/** What one dispatch moves and computes, known when it is recorded. Lengths that grow are counted at their maximum. */
export interface Cost {
  bytesRead: number;
  bytesWritten: number;
  multiplyAdds: number;
}

export interface KernelSpec<Binding extends string = string> {
  /** Also labels the GPU objects and the profile row. */
  readonly name: string;
  readonly shader: ShaderVariants;
  /** In `@binding` order, all in group 0; "write" stands for read_write. */
  readonly bindings: Readonly<Record<Binding, "read" | "write">>;
  /** The shader reads a uniform of u32 fields after the last binding (`Dispatch.shape`). */
  readonly shape?: true;
}

export interface Dispatch {
  kernel: KernelSpec;
  /** The shader variant to run, one of `kernel.shader`'s keys. */
  variant: string;
  /** Pipeline-overridable constants: shapes and tiles. */
  overrides: Record<string, number>;
  buffers: Record<string, GPUBuffer>;
  /** Fields of the kernel's uniform, in order: shapes that would be overrides were compiling not so dear. */
  shape?: readonly number[];
  workgroups: readonly [x: number, y?: number, z?: number];
  cost: Cost;
}

/** Something that takes dispatches in order: a program being recorded, or a test. */
export interface Recorder {
  readonly tier: KernelTier;
  dispatch(dispatch: Dispatch): void;
}

export interface DispatchOptions<Binding extends string> extends Omit<Dispatch, "kernel" | "buffers" | "variant"> {
  buffers: Record<Binding, GPUBuffer>;
  /** Threads that exchange values by shuffles: the subgroup variant is taken only where every subgroup has as many. */
  lanes?: number;
}

export function defineKernel<const Binding extends string>(spec: KernelSpec<Binding>) {
  return {
    ...spec,
    /** Records one dispatch; a missing buffer is a compile error. */
    record(recorder: Recorder, { lanes = 1, ...dispatch }: DispatchOptions<Binding>): void {
      const variant = pickVariant(spec.shader, recorder.tier, lanes);
      recorder.dispatch({ kernel: spec, variant, ...dispatch });
    },
  };
}

/** The most specialised variant that the tier allows. */
export function pickVariant(shader: ShaderVariants, tier: KernelTier, lanes: number): string {
  const subgroups = lanes > 1 && tier.subgroupSize >= lanes;
  const wanted = [tier.f16 && subgroups && "f16+subgroups", subgroups && "subgroups", tier.f16 && "f16"];
  return wanted.find((key): key is string => typeof key === "string" && key in shader) ?? "";
}
