import shader from "../wgsl/rope-kv-write.wgsl";
import { defineKernel, type Recorder, requireShape, SOFTWARE_THREADS } from "./define-kernel";
import { type KvBuffers, kvOverrides, kvTokenBytes } from "./kv-cache";

const kernel = defineKernel({
  name: "rope-kv-write",
  shader,
  bindings: { qkv: "write", cos_sin: "read", state: "read", k_cache: "write", v_cache: "write", kv_scales: "write" },
});

/** Head counts and where q, k and v stand in a row of the stacked projection. */
export interface HeadLayout {
  /** Query heads. */
  H: number;
  /** Key and value heads. */
  G: number;
  /** Head size. */
  d: number;
  /** Floats from token to token. */
  stride: number;
  kAt: number;
  vAt: number;
}

export interface RopeKvWriteArgs {
  heads: HeadLayout;
  /** f32 [tokens, stride]. */
  qkv: GPUBuffer;
  /** vec2 f32 [positions, d/2]. */
  cosSin: GPUBuffer;
  state: GPUBuffer;
  kv: KvBuffers;
  tokens: number;
}

/** Rotates q and k, puts k and v into the cache. Equation in wgsl/rope-kv-write.wgsl. */
export function ropeKvWrite(recorder: Recorder, { heads, qkv, cosSin, state, kv, tokens }: RopeKvWriteArgs): void {
  const { H, G, d } = heads;
  requireShape(kernel.name, d % 16 === 0, `head size must be a multiple of 16 but is ${d}.`);
  kernel.record(recorder, {
    overrides: {
      ...kvOverrides(kv, d),
      THREADS: recorder.tier.software ? SOFTWARE_THREADS : d / 2,
      HEADS: H,
      KV_HEADS: G,
      HALF: d / 2,
      STRIDE: heads.stride,
      K_AT: heads.kAt,
      V_AT: heads.vAt,
      HADAMARD: kv.format.k === 4 ? d & -d : 1,
    },
    buffers: { qkv, cos_sin: cosSin, state, k_cache: kv.k, v_cache: kv.v, kv_scales: kv.scales },
    workgroups: [H + 2 * G, tokens],
    cost: {
      bytesRead: 4 * tokens * (H + 2 * G + 1) * d,
      bytesWritten: tokens * (4 * H * d + G * kvTokenBytes(kv, d)),
      multiplyAdds: 2 * tokens * (H + 2 * G) * d,
    },
  });
}
