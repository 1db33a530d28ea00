/** onnxruntime-web with the loop that its user writes: the cache stays on the GPU, the logits of the last token come back. */
import { load } from "./load.js";

const PACKAGE = "/packages/onnxruntime-web";

/** @returns {Promise<import("../visit").Engine>} */
export async function open() {
  const ort = await load(`${PACKAGE}/dist/ort.webgpu.min.mjs`);
  ort.env.wasm.wasmPaths = `${PACKAGE}/dist/`;
  const config = await (await fetch("/models/onnx/config.json")).json();
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layer);
  const names = layers.flatMap((layer) => [`${layer}.key`, `${layer}.value`]);
  const session = await ort.InferenceSession.create("/models/onnx/onnx/model_q4.onnx", {
    executionProviders: ["webgpu"],
    preferredOutputLocation: Object.fromEntries(names.map((name) => [`present.${name}`, "gpu-buffer"])),
  });
  const cacheShape = [1, config.num_key_value_heads, 0, config.head_dim];
  const ids = (/** @type {number[]} */ values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);

  /** @type {import("../visit").Engine["generate"]} */
  async function generate(prompt, tokens) {
    const generated = [];
    const arrivals = [];
    const calledAt = performance.now();
    let cache = Object.fromEntries(
      names.map((name) => [`past_key_values.${name}`, new ort.Tensor("float32", new Float32Array(0), cacheShape)]),
    );
    for (let read = prompt.ids, length = 0; generated.length < tokens; read = generated.slice(-1)) {
      length += read.length;
      const mask = ids(Array(length).fill(1));
      const outputs = await session.run({ input_ids: ids(read), attention_mask: mask, ...cache });
      for (const tensor of Object.values(cache)) tensor.dispose();
      cache = Object.fromEntries(names.map((name) => [`past_key_values.${name}`, outputs[`present.${name}`]]));
      generated.push(largest(outputs.logits.data));
      arrivals.push(performance.now());
    }
    for (const tensor of Object.values(cache)) tensor.dispose();
    const [endedAt] = arrivals.slice(-1);
    return { calledAt, arrivals, endedAt, promptTokens: prompt.ids.length, generated: tokens, ids: generated };
  }
  return { version: ort.env.versions.web, generate };
}

/** Where the largest of the logits is. @param {Float32Array} logits */
function largest(logits) {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}
