import shader from "../wgsl/attention-prefill-software.wgsl";
import type { AttentionPrefillArgs } from "./attention-prefill";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { kvOverrides, kvTokenBytes } from "./kv-cache";

const kernel = defineKernel({
  name: "attention-prefill-software",
  shader,
  bindings: { qkv: "read", k_cache: "read", v_cache: "read", kv_scales: "read", state: "read", o: "write" },
});

/** Query rows (tokens x query heads of a kv head) of one workgroup: 4 threads with 4 each. */
const ROWS = 16;

/** As attention-prefill, for software adapters. Equation in wgsl/attention-prefill-software.wgsl. */
export function attentionPrefillSoftware(recorder: Recorder, args: AttentionPrefillArgs): void {
  const { heads, qkv, kv, state, o, oStride, tokens } = args;
  const { H, G, d, stride } = heads;
  requireShape(kernel.name, d % 16 === 0, `head size must be a multiple of 16 but is ${d}.`);
  requireShape(kernel.name, H % G === 0, `query heads must be a multiple of kv heads but are ${H} and ${G}.`);
  const tiles = Math.ceil((tokens * (H / G)) / ROWS);
  kernel.record(recorder, {
    overrides: { ...kvOverrides(kv, d), QUERIES: H / G, STRIDE: stride, O_STRIDE: oStride },
    buffers: { qkv, k_cache: kv.k, v_cache: kv.v, kv_scales: kv.scales, state, o },
    workgroups: [tiles, G],
    cost: {
      bytesRead: 4 * tokens * H * d + tiles * G * kv.maxTokens * kvTokenBytes(kv, d),
      bytesWritten: 4 * tokens * H * d,
      multiplyAdds: 2 * tokens * H * kv.maxTokens * d,
    },
  });
}
