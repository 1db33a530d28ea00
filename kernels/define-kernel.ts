/**
 * One kernel = `wgsl/NAME.wgsl` + `kernels/NAME.ts` (this binding) + `kernels/reference/NAME.ts` (the CPU twin)
 * + `test/kernels/NAME.test.ts`. A binding turns typed operands into one recorded dispatch and states its cost.
 */

/** What a device offers and a shader may be specialised for. */
export interface KernelTier {
  f16: boolean;
  subgroups: boolean;
}

/** Build-time variants of one WGSL file: key "" is portable; "f16", "subgroups", "f16+subgroups" where the file has them. */
export type ShaderVariants = Readonly<Record<string, string>>;

/** What one dispatch moves and computes, known when it is recorded. Lengths that grow are given for the recorded maximum. */
export interface Cost {
  bytesRead: number;
  bytesWritten: number;
  multiplyAdds: number;
}

export interface KernelSpec<Binding extends string = string> {
  /** Also labels the GPU objects and the profile row. */
  readonly name: string;
  readonly shader: ShaderVariants;
  /** In `@binding` order, all in group 0. */
  readonly bindings: readonly Binding[];
}

export interface Dispatch {
  kernel: KernelSpec;
  /** Pipeline-overridable constants: shapes and tiles. */
  overrides: Record<string, number>;
  buffers: Record<string, GPUBuffer>;
  workgroups: readonly [number, number?, number?];
  cost: Cost;
}

/** Something that takes dispatches in order: a program being recorded, or a test. */
export interface Recorder {
  readonly tier: KernelTier;
  dispatch(dispatch: Dispatch): void;
}

export function defineKernel<const Binding extends string>(spec: KernelSpec<Binding>) {
  return {
    ...spec,
    /** Records one dispatch; a missing buffer is a compile error. */
    record(recorder: Recorder, dispatch: Omit<Dispatch, "kernel" | "buffers"> & { buffers: Record<Binding, GPUBuffer> }): void {
      recorder.dispatch({ kernel: spec, ...dispatch });
    },
  };
}

/** The most specialised variant that the tier allows. */
export function pickVariant(shader: ShaderVariants, tier: KernelTier): string {
  const wanted = [tier.f16 && tier.subgroups && "f16+subgroups", tier.subgroups && "subgroups", tier.f16 && "f16", ""];
  for (const key of wanted) if (typeof key === "string" && key in shader) return key;
  throw new Error("a shader without a portable variant");
}
