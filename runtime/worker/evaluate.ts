/** A text scored on a sequence of its own, beside a source that another worker holds. */
import { type Score, type ScoredSequence, score } from "../engine/evaluation";
import { OchreError } from "../errors";
import type { ChatModel } from "./chat";
import type { EvaluationProgress, EvaluationRequest, Predict } from "./protocol";

const DEFAULT_WINDOW = 512;

/** @throws OchreError INVALID_ARGUMENT for a text shorter than a window or a source of another vocabulary; GPU_MEMORY, GPU_LOST. */
export async function evaluateText(
  { engine, text, adapterUses }: ChatModel,
  contextTokens: number,
  { text: input, context = Math.min(DEFAULT_WINDOW, contextTokens), tokens }: EvaluationRequest,
  onProgress: (progress: EvaluationProgress) => void,
  predict: Predict | undefined,
  signal: AbortSignal,
): Promise<Score> {
  if (context > contextTokens)
    throw invalid(`context must be at most ${contextTokens}, the window that the model was loaded with, but is ${context}.`);
  const ids = text.encode(input).slice(0, tokens);
  if (ids.length < context) throw invalid(`the text must fill a window of ${context} tokens but has ${ids.length}.`);
  const sequence = await engine.createSequence({ contextTokens: context });
  try {
    await sequence.setAdapters(adapterUses(null));
    const source = predict && remote(predict, engine.config.V);
    const onWindow = (window: number, windows: number, soFar: Score) => onProgress({ window, windows, soFar });
    return await score(sequence, ids, { context, source, onWindow, signal });
  } finally {
    sequence.dispose();
  }
}

/** A source's sequence on the other side of the wire. */
function remote(predict: Predict, V: number): ScoredSequence {
  let isNew = true;
  return {
    truncate: () => {
      isNew = true;
    },
    prefillLogits: async (ids, onLogits) => {
      const logits = await predict([...ids], isNew);
      isNew = false;
      if (logits.length !== ids.length * V) {
        throw invalid(`source must have this model's vocabulary of ${V} tokens but has ${logits.length / ids.length}.`);
      }
      for (let t = 0; t < ids.length; t++) onLogits(t, logits.subarray(t * V, (t + 1) * V));
    },
  };
}

const invalid = (what: string): OchreError => new OchreError("INVALID_ARGUMENT", `[evaluate] ${what}`);
