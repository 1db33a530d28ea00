/**
 * A conversation on one sequence of the engine. The transcript is rendered afresh for every call; what the cache
 * already holds of it is found by comparing token ids, so a changed transcript needs no bookkeeping: the common
 * prefix stays, the rest is cut and run again.
 */
import type { AdapterUse } from "../engine/adapter-basis";
import { OchreError } from "../errors";
import { type LoadTimes, type ReplyTimeline, replyMetrics } from "../metrics";
import type { Message } from "../sdk/types";
import type { GenerateRequest, GenerateResult, Sampling } from "./protocol";
import type { EngineSurface, SequenceSurface } from "./surface";

/** The text side of a model: what the tokenizer, the chat template and the streaming detokenizer do for a chat. */
export interface ChatText {
  /** Token ids of the rendered conversation, with the opening of the assistant's turn where asked. */
  render(messages: readonly Message[], options: { addGenerationPrompt: boolean }): number[];
  /** Of a text as it stands. */
  encode(text: string): number[];
  /** A fresh detokenizer for one reply: `push` returns text that can no longer change, `flush` the rest. */
  detokenizer(): { push(ids: readonly number[]): string; flush(): string };
}

/** What all sessions of a model share. */
export interface ChatModel {
  engine: EngineSurface;
  text: ChatText;
  loadMs: LoadTimes;
  /**
   * What adds up where a session uses this adapter, or none.
   * @throws OchreError INVALID_ARGUMENT for one that is not loaded.
   */
  adapterUses(adapter: string | null): AdapterUse[];
}

/** Milliseconds since the epoch at performance.now()'s resolution: the page's and the worker's clocks start at different times. */
export const epochMs = (): number => performance.timeOrigin + performance.now();

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return i;
  return most;
}

function contextFull(requested: number, quota: number): OchreError {
  return new OchreError(
    "CONTEXT_FULL",
    `[session] the conversation must fit in ${quota} tokens but needs ${requested}. ` +
      "Start a new session, shorten the prompt, or load the model with more contextTokens.",
    { details: { requested, quota } },
  );
}

export class ChatSession {
  readonly #model: ChatModel;
  readonly #sequence: SequenceSurface;
  readonly #defaults: Sampling;
  #transcript: readonly Message[] = [];
  #contextUsage = 0;

  constructor(model: ChatModel, sequence: SequenceSurface, defaults: Sampling) {
    this.#model = model;
    this.#sequence = sequence;
    this.#defaults = defaults;
  }

  /** Tokens of the rendered transcript, replies included. */
  get contextUsage(): number {
    return this.#contextUsage;
  }

  /**
   * Runs the messages and generates the assistant's reply. Both join the transcript only when the reply is complete:
   * an abort or an error leaves the conversation as it was.
   * @throws CONTEXT_FULL with `requested` (prompt and one token) and `quota` (the window), in tokens.
   */
  async generate(request: GenerateRequest, onPiece?: (piece: string) => void, signal?: AbortSignal): Promise<GenerateResult> {
    const transcript = this.#extended(request.messages);
    const prompt = this.#model.text.render(transcript, { addGenerationPrompt: true });
    const room = this.#sequence.contextTokens - prompt.length;
    if (room < 1) throw contextFull(prompt.length + 1, this.#sequence.contextTokens);
    const prefillStartedAt = epochMs();
    await this.#sequence.setAdapters(this.#model.adapterUses(request.adapter));
    // The last prompt token is always run: its logits choose the first token of the reply.
    const cachedTokens = await this.#cache(prompt, prompt.length - 1, signal);
    const timeline: ReplyTimeline = {
      calledAt: request.calledAt,
      prefillStartedAt,
      prefillEndedAt: epochMs(),
      batches: [],
      promptTokens: prompt.length,
      cachedTokens,
    };

    const { temperature = 0, topK = 0, topP = 1, minP = 0, seed = randomSeed() } = { ...this.#defaults, ...defined(request) };
    const stopIds = this.#model.engine.config.eosIds;
    const maxTokens = Math.min(request.maxTokens ?? room, room);
    const detokenizer = this.#model.text.detokenizer();
    let finishReason: GenerateResult["finishReason"] = maxTokens === request.maxTokens ? "length" : "context";
    let text = "";
    const emit = (piece: string) => {
      if (piece === "") return;
      text += piece;
      onPiece?.(piece);
    };
    const speculate = request.speculate === undefined ? "auto" : request.speculate ? "always" : "never";
    const before = { ...this.#sequence.speculated };
    const sampling = { temperature, topK, topP, minP, seed, stopIds };
    for await (const batch of this.#sequence.decode({ ...sampling, maxTokens, speculate, signal })) {
      signal?.throwIfAborted();
      timeline.batches.push({ at: epochMs(), tokens: batch.length });
      const stopped = stopIds.includes(batch[batch.length - 1]);
      if (stopped) finishReason = "stop";
      emit(detokenizer.push(stopped ? batch.slice(0, -1) : batch));
    }
    signal?.throwIfAborted();
    emit(detokenizer.flush());

    this.#commit([...transcript, { role: "assistant", content: text }]);
    const { engine, loadMs } = this.#model;
    const { vendor, architecture, features } = engine.gpuInfo;
    const reply = replyMetrics(timeline);
    const bytesPerToken = this.#sequence.bytesPerToken();
    const metrics = {
      ...reply,
      ...rooflineShare(reply.decodeTokensPerSecond, bytesPerToken, engine.copyGigabytesPerSecond),
      loadMs,
      gpu: { vendor, architecture, features },
      kvBytes: this.#sequence.kvBytes,
      weightBytes: engine.weightBytes,
      bytesPerToken,
      draftedTokens: this.#sequence.speculated.drafted - before.drafted,
      acceptedTokens: this.#sequence.speculated.accepted - before.accepted,
      adapter: request.adapter,
      seed,
    };
    return { text, finishReason, metrics, contextUsage: this.#contextUsage };
  }

  /** Adds messages to the transcript and fills the cache with them, so that the next prompt starts sooner. */
  async append(messages: readonly Message[], adapter: string | null, signal?: AbortSignal): Promise<void> {
    const transcript = this.#extended(messages);
    const ids = this.#model.text.render(transcript, { addGenerationPrompt: false });
    if (ids.length > this.#sequence.contextTokens) throw contextFull(ids.length, this.#sequence.contextTokens);
    await this.#sequence.setAdapters(this.#model.adapterUses(adapter));
    await this.#cache(ids, ids.length, signal);
    signal?.throwIfAborted();
    this.#commit(transcript, ids.length);
  }

  /** Exact tokens that these messages would add to `contextUsage`. */
  measure(messages: readonly Message[]): number {
    const ids = this.#model.text.render(this.#extended(messages), { addGenerationPrompt: false });
    return ids.length - this.#contextUsage;
  }

  /** Uses no adapter until the next call says which. */
  async letAdaptersGo(): Promise<void> {
    await this.#sequence.setAdapters([]);
  }

  dispose(): void {
    this.#sequence.dispose();
  }

  #extended(messages: readonly Message[]): Message[] {
    const transcript = [...this.#transcript, ...messages];
    if (transcript.some(({ role }, i) => role === "system" && i > 0)) {
      throw new TypeError("[session] a message with role system must be the first of the conversation.");
    }
    return transcript;
  }

  #commit(transcript: readonly Message[], tokens = this.#model.text.render(transcript, { addGenerationPrompt: false }).length) {
    this.#transcript = transcript;
    this.#contextUsage = tokens;
  }

  /** Makes the cache hold exactly `ids`, of which it keeps at most `reusable`. Returns how many it kept. */
  async #cache(ids: readonly number[], reusable: number, signal?: AbortSignal): Promise<number> {
    const kept = Math.min(commonPrefix(this.#sequence.ids, ids), reusable);
    this.#sequence.truncate(kept);
    if (kept < ids.length) await this.#sequence.prefill(ids.slice(kept), { signal });
    return kept;
  }
}

/** Absent where either speed was not measured. */
function rooflineShare(tokensPerSecond: number | undefined, bytesPerToken: number, copyGigabytesPerSecond: number | undefined) {
  if (tokensPerSecond === undefined || copyGigabytesPerSecond === undefined) return {};
  return { rooflineShare: (tokensPerSecond * bytesPerToken) / (1e9 * copyGigabytesPerSecond) };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** The sampling options that a request sets, so that those it leaves out do not hide the session's. */
function defined({ temperature, topK, topP, minP, seed }: Sampling): Sampling {
  return Object.fromEntries(Object.entries({ temperature, topK, topP, minP, seed }).filter(([, value]) => value !== undefined));
}
