/** Ochre as a page author uses it. The chat template of this model renders a message as it is, so that all engines read the same. */
import { load } from "./load.js";

/** @returns {Promise<import("../visit").Engine>} */
export async function open() {
  /** @type {typeof import("../../../runtime/index")} */
  const { Ochre } = await load("/ochre/index.js");
  const model = await Ochre.load("/models/ochre");
  return { version: Ochre.version, generate: (prompt, tokens) => generate(model, prompt, tokens) };
}

/**
 * @param {import("../../../runtime/index").Model} model
 * @param {import("../visit").Prompt} prompt
 * @param {number} tokens
 */
async function generate(model, prompt, tokens) {
  const session = await model.createSession();
  const arrivals = [];
  let text = "";
  const calledAt = performance.now();
  for await (const piece of session.promptStreaming(prompt.text, { maxTokens: tokens })) {
    arrivals.push(performance.now());
    text += piece;
  }
  const endedAt = performance.now();
  const metrics = session.lastMetrics;
  session.destroy();
  if (!metrics) throw new Error("Ochre gave no metrics.");
  return { calledAt, arrivals, endedAt, promptTokens: metrics.promptTokens, generated: metrics.generatedTokens, text };
}
