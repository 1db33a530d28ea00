/** @huggingface/transformers, on the backend that is asked for. */
import { load } from "./load.js";

/** @param {string} device @returns {Promise<import("../visit").Engine>} */
export async function open(device) {
  const { AutoModelForCausalLM, BaseStreamer, env, Tensor } = await load(
    "/packages/@huggingface/transformers/dist/transformers.min.js",
  );
  env.allowLocalModels = true;
  env.allowRemoteModels = false;
  env.localModelPath = "/models/";
  env.backends.onnx.wasm.wasmPaths = "/packages/onnxruntime-web/dist/";
  const model = await AutoModelForCausalLM.from_pretrained("onnx", { device, dtype: "q4" });

  /** @type {import("../visit").Engine["generate"]} */
  async function generate(prompt, tokens) {
    /** @type {number[]} */
    const arrivals = [];
    const streamer = new (class extends BaseStreamer {
      put() {
        arrivals.push(performance.now());
      }
      end() {}
    })();
    const shape = [1, prompt.ids.length];
    const calledAt = performance.now();
    const output = await model.generate({
      inputs: new Tensor("int64", BigInt64Array.from(prompt.ids, BigInt), shape),
      attention_mask: new Tensor("int64", new BigInt64Array(prompt.ids.length).fill(1n), shape),
      max_new_tokens: tokens,
      do_sample: false,
      streamer,
    });
    const endedAt = performance.now();
    const ids = Array.from(/** @type {BigInt64Array} */ (output.data), Number).slice(prompt.ids.length);
    // The streamer is given the prompt first.
    return { calledAt, arrivals: arrivals.slice(1), endedAt, promptTokens: prompt.ids.length, generated: ids.length, ids };
  }
  return { version: env.version, generate };
}
