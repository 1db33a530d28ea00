/** What the evaluation tab scores, and how it came out. */
import { signal } from "@preact/signals";
import { type Evaluation, type Model, Ochre } from "../runtime/index";
import { source as modelSource } from "./model";
import { exclusively, openModel, showLoad, status } from "./runs";

/** Texts that come with the page; "" is the visitor's own. */
export const TEXTS = [
  { id: "a", name: "Text A: the Jargon File" },
  { id: "b", name: "Text B: a novel, never calibrated with" },
  { id: "", name: "Your own" },
] as const;
const FILES = {
  a: new URL("../test/golden/text_a.txt", import.meta.url),
  b: new URL("../test/golden/text_b.txt", import.meta.url),
};

export const chosen = signal<(typeof TEXTS)[number]["id"]>("a");
export const ownText = signal("");
export const tokens = signal(1024);
/** URL or hub id of the model to compare with; empty: none. */
export const comparedWith = signal("");

export interface EvaluationRow extends Evaluation {
  model: string;
  averageBits: number;
  comparedWith?: string;
  text: string;
  date: string;
}

/** Newest last. */
export const evaluations = signal<EvaluationRow[]>([]);

const CONTEXT = 512;

export const evaluate = (): Promise<void> =>
  exclusively(async (signal) => {
    const text = chosen.value === "" ? ownText.value : await (await fetch(FILES[chosen.value], { signal })).text();
    const model = await openModel(signal);
    let source: Model | undefined;
    try {
      if (comparedWith.value !== "") {
        source = await Ochre.load(comparedWith.value, { onProgress: showLoad("The other model: "), signal });
      }
      const context = Math.min(CONTEXT, model.info.contextTokens, source?.info.contextTokens ?? CONTEXT);
      status.value = "Scoring";
      const score = await model.evaluate({
        text,
        context,
        tokens: tokens.value,
        source,
        signal,
        onProgress: ({ window, windows, soFar }) => {
          status.value = `Scoring: ${window} of ${windows} windows, perplexity ${soFar.perplexity.toFixed(2)}`;
        },
      });
      evaluations.value = [
        ...evaluations.value,
        {
          model: model.info.name,
          averageBits: model.info.averageBits,
          comparedWith: source?.info.name,
          text: TEXTS.find(({ id }) => id === chosen.value)!.name,
          ...score,
          date: new Date().toISOString(),
        },
      ];
      status.value = "Done.";
    } finally {
      await source?.dispose();
    }
  });

export const canEvaluate = (): boolean =>
  modelSource.value !== "" && tokens.value >= 2 && (chosen.value !== "" || ownText.value.trim() !== "");
