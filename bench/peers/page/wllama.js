/** @wllama/wllama: llama.cpp in wasm. It uses WebGPU where it can, and says nothing where it cannot. */
import { load } from "./load.js";

const PACKAGE = "/packages/@wllama/wllama";

/** @returns {Promise<import("../visit").Engine>} */
export async function open() {
  const { Wllama } = await load(`${PACKAGE}/esm/index.js`);
  const { version } = await (await fetch(`${PACKAGE}/package.json`)).json();
  const wllama = new Wllama({ default: `${PACKAGE}/esm/wasm/wllama.wasm` }, { suppressNativeLog: true });
  const gguf = await (await fetch("/models/model.gguf")).blob();
  await wllama.loadModel([gguf]);

  /** @type {import("../visit").Engine["generate"]} */
  async function generate(prompt, tokens) {
    /** @type {number[]} */
    const arrivals = [];
    let text = "";
    let usage = { prompt_tokens: 0, completion_tokens: 0 };
    const calledAt = performance.now();
    await wllama.createCompletion({
      prompt: prompt.text,
      max_tokens: tokens,
      temperature: 0,
      cache_prompt: false,
      stream: true,
      stream_options: { include_usage: true },
      /** @param {{ choices: { text: string }[], usage?: typeof usage }} chunk */
      onData(chunk) {
        const piece = chunk.choices[0]?.text ?? "";
        if (piece !== "") arrivals.push(performance.now());
        text += piece;
        usage = chunk.usage ?? usage;
      },
    });
    const endedAt = performance.now();
    return { calledAt, arrivals, endedAt, promptTokens: usage.prompt_tokens, generated: usage.completion_tokens, text };
  }
  return { version: `${version}${wllama.isMultithread() ? `, ${wllama.getNumThreads()} threads` : ""}`, generate };
}
