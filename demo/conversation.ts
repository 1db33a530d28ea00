/** One conversation with the loaded model: its turns, its settings, and the numbers of its last reply. */
import { computed, effect, type Signal, signal } from "@preact/signals";
import type { Message, Metrics, Session } from "../runtime/index";
import { better, type Failure, info, load, progress, toFailure } from "./models";

export interface Turn {
  id: number;
  role: "user" | "assistant";
  /** A signal, so that a token touches one text node and no component. */
  text: Signal<string>;
  state: Signal<TurnState>;
}
export type TurnState = { kind: "streaming" } | { kind: "done" } | { kind: "stopped" } | { kind: "failed"; failure: Failure };

export const turns = signal<Turn[]>([]);
export const draft = signal("");
export const metrics = signal<Metrics | undefined>(undefined);
/** Pieces in the last two seconds, per second, while a reply streams. */
export const liveRate = signal<number | undefined>(undefined);
/** Said by screen readers: whole replies and outcomes, never single tokens. */
export const announcement = signal("");
export const context = signal<{ used: number; window: number } | undefined>(undefined);

export const systemPrompt = signal("");
export const temperature = signal(0);
/** 0 stands for all tokens. */
export const topK = signal(0);
export const topP = signal(1);
export const maxTokens = signal(256);

export const streaming = computed(() => turns.value.at(-1)?.state.value.kind === "streaming");

const RATE_WINDOW_MS = 2000;
let session: Session | undefined;
let replying: AbortController | undefined;
let nextId = 0;

// A session belongs to its model. The turns outlive it: after another load, or a lost GPU, the next session reads them again.
effect(() => {
  const { kind } = load.value;
  endSession();
  if (kind === "ready") announcement.value = "The model is ready.";
});

/** Said now and then while a checkpoint is palettized, which takes minutes. */
const milestone = computed(() => {
  const now = progress.value;
  if (load.value.kind !== "loading" || now?.phase !== "palettize") return undefined;
  const percent = 25 * Math.floor((4 * now.loaded) / now.total);
  return percent === 0 ? "Palettizing the model." : `Palettizing: ${percent} % done.`;
});
effect(() => {
  if (milestone.value) announcement.value = milestone.value;
});
effect(() => {
  if (better.value && better.value.making === undefined) announcement.value = "A better model is ready.";
});

function endSession(): void {
  replying?.abort();
  session?.destroy();
  session = undefined;
  metrics.value = undefined;
  context.value = undefined;
}

export function newChat(): void {
  endSession();
  turns.value = [];
}

export function stop(): void {
  replying?.abort();
}

export async function send(text: string): Promise<void> {
  if (load.value.kind !== "ready" || streaming.value || text.trim() === "") return;
  const { model } = load.value;
  const history = messages(turns.value);
  const reply = newTurn("assistant", "", { kind: "streaming" });
  turns.value = [...turns.value, newTurn("user", text.trim(), { kind: "done" }), reply];
  const abort = new AbortController();
  replying = abort;
  announcement.value = "";
  try {
    session ??= await model.createSession({ initialPrompts: history, signal: abort.signal });
    const speaker = session;
    await stream(speaker, text.trim(), reply, abort.signal);
    reply.state.value = { kind: "done" };
    announcement.value = `Reply: ${reply.text.value}`;
    metrics.value = speaker.lastMetrics;
    context.value = { used: speaker.contextUsage, window: speaker.contextWindow };
    info.value = model.info;
  } catch (error) {
    const failure = toFailure(error);
    reply.state.value = abort.signal.aborted ? { kind: "stopped" } : { kind: "failed", failure };
    announcement.value = abort.signal.aborted ? "Stopped." : failure.message;
  } finally {
    liveRate.value = undefined;
  }
}

/** What a fresh session must know: the system prompt and every exchange that came to its end. */
function messages(past: Turn[]): Message[] {
  const system = systemPrompt.value.trim();
  const list: Message[] = system === "" ? [] : [{ role: "system", content: system }];
  for (const [i, { role, text, state }] of past.entries()) {
    if (role !== "assistant" || state.value.kind !== "done") continue;
    list.push({ role: "user", content: past[i - 1].text.value }, { role, content: text.value });
  }
  return list;
}

async function stream(speaker: Session, text: string, reply: Turn, abort: AbortSignal): Promise<void> {
  const arrivals: number[] = [];
  const pieces = speaker.promptStreaming(text, {
    signal: abort,
    temperature: temperature.value,
    topK: topK.value || undefined,
    topP: topP.value,
    maxTokens: maxTokens.value,
  });
  for await (const piece of pieces) {
    reply.text.value += piece;
    const now = performance.now();
    arrivals.push(now);
    while (now - arrivals[0] > RATE_WINDOW_MS) arrivals.shift();
    if (arrivals.length > 1) liveRate.value = (1000 * (arrivals.length - 1)) / (now - arrivals[0]);
  }
}

function newTurn(role: Turn["role"], text: string, state: TurnState): Turn {
  return { id: nextId++, role, text: signal(text), state: signal(state) };
}
