import { proxy } from "comlink";
import { OchreError } from "../errors";
import type { Metrics } from "../metrics";
import type { GenerateRequest, GenerateResult } from "../worker/protocol";
import { callHandler } from "./callback";
import type { Connection } from "./connection";
import { checkAdapterName, checkOptions, sampling, toMessages } from "./options";
import { readableText } from "./readable-text";
import type { Message, PromptOptions } from "./types";

/** What the worker answered when the session was made. */
export interface SessionHandle {
  session: number;
  contextUsage: number;
  contextWindow: number;
  adapter: string | null;
}

/**
 * A conversation, in the shape of the Prompt API's `LanguageModel`. Calls run in the order in which they were made.
 * Made by `model.createSession()`.
 */
export class Session {
  readonly #connection: Connection;
  readonly #handle: number;
  readonly #life = new AbortController();
  readonly #onDestroy: (session: Session) => void;
  #contextUsage: number;
  #adapter: string | null;
  #lastMetrics?: Metrics;

  /** Tokens that fit: prompts and replies, template included. */
  readonly contextWindow: number;
  /** Called with the metrics of every reply, just before it ends. */
  onmetrics: ((metrics: Metrics) => void) | null = null;

  /** @internal */
  constructor(connection: Connection, handle: SessionHandle, onDestroy: (session: Session) => void) {
    this.#connection = connection;
    this.#handle = handle.session;
    this.#contextUsage = handle.contextUsage;
    this.#adapter = handle.adapter;
    this.contextWindow = handle.contextWindow;
    this.#onDestroy = onDestroy;
  }

  /** Tokens of the conversation so far, as the chat template renders it. */
  get contextUsage(): number {
    return this.#contextUsage;
  }

  /**
   * Name of the adapter that the calls from now on answer with; null: none. What is cached was computed with another one, so the
   * next call reads the whole conversation again.
   */
  get adapter(): string | null {
    return this.#adapter;
  }

  set adapter(name: string | null) {
    checkAdapterName("adapter", name);
    this.#adapter = name;
  }

  /** Metrics of the last complete reply. */
  get lastMetrics(): Metrics | undefined {
    return this.#lastMetrics;
  }

  /**
   * The assistant's whole reply. An aborted prompt leaves the conversation as it was before the call.
   * @param input a string is one message of the user.
   * @throws CONTEXT_FULL with `requested` and `quota` in tokens; INVALID_ARGUMENT; DISPOSED after destroy();
   *   GPU_LOST; TypeError for a system message that is not the first of the conversation; the signal's own reason;
   *   AbortError when destroy() comes in between.
   */
  async prompt(input: string | Message[], options: PromptOptions = {}): Promise<string> {
    const request = this.#request(input, options);
    return (await this.#generate(request, options, this.#signal(options.signal))).text;
  }

  /**
   * The reply as it is generated: each chunk is new text. Generation starts at once; cancelling the stream, or
   * leaving its `for await` early, stops it. Bad arguments throw here, all else errors the stream as `prompt` rejects.
   */
  promptStreaming(input: string | Message[], options: PromptOptions = {}): ReadableStream<string> {
    const request = this.#request(input, options);
    const cancelled = new AbortController();
    const signal = this.#signal(options.signal, cancelled.signal);
    return readableText({
      start: (controller) => {
        const onPiece = (piece: string) => {
          // Pieces still under way when the reader left or the session was destroyed have nowhere to go.
          if (!cancelled.signal.aborted && !this.#life.signal.aborted) controller.enqueue(piece);
        };
        this.#generate(request, options, signal, onPiece).then(
          () => cancelled.signal.aborted || controller.close(),
          (error) => controller.error(error),
        );
      },
      cancel: (reason) => cancelled.abort(reason),
    });
  }

  /** Adds messages without asking for a reply and runs them through the model, so that the next prompt starts sooner. */
  async append(input: string | Message[], options: { signal?: AbortSignal } = {}): Promise<void> {
    const messages = this.#messages("append", input, options);
    const signal = this.#signal(options.signal);
    const adapter = this.#adapter;
    const result = await this.#connection.callAbortable(
      (worker) => worker.append(this.#handle, messages, adapter, signal),
      signal,
      this.#life.signal,
    );
    this.#contextUsage = result.contextUsage;
  }

  /** Exact tokens that the input would add to `contextUsage`. */
  async measureContextUsage(input: string | Message[], options: { signal?: AbortSignal } = {}): Promise<number> {
    const messages = this.#messages("measureContextUsage", input, options);
    return this.#connection.call((worker) => worker.measure(this.#handle, messages), this.#signal(options.signal));
  }

  /** Frees the session's cache. What still runs rejects with an AbortError; later calls throw DISPOSED. */
  destroy(): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort(new DOMException("The session was destroyed.", "AbortError"));
    const freed = this.#connection.call((worker) => worker.destroySession(this.#handle));
    // Nobody waits for this, and a worker that is gone has freed everything already.
    freed.catch(() => {}).then(() => this.#onDestroy(this));
  }

  /** For `using`. Browsers without the symbol never look for the name that this gets there. */
  [Symbol.dispose](): void {
    this.destroy();
  }

  #messages(who: string, input: string | Message[], options: { signal?: AbortSignal }): Message[] {
    if (this.#life.signal.aborted) throw new OchreError("DISPOSED", `[${who}] a session cannot be used after destroy().`);
    checkOptions(who, options);
    return toMessages(who, input);
  }

  #request(input: string | Message[], options: PromptOptions): GenerateRequest {
    const calledAt = performance.timeOrigin + performance.now();
    const messages = this.#messages("prompt", input, options);
    const { maxTokens, speculate } = options;
    return { ...sampling(options), maxTokens, speculate, messages, adapter: this.#adapter, calledAt };
  }

  #signal(...signals: (AbortSignal | undefined)[]): AbortSignal {
    return AbortSignal.any([this.#life.signal, ...signals.filter((signal) => signal !== undefined)]);
  }

  async #generate(
    request: GenerateRequest,
    { onmetrics }: PromptOptions,
    signal: AbortSignal,
    onPiece?: (piece: string) => void,
  ): Promise<GenerateResult> {
    const result = await this.#connection.callAbortable(
      (worker) => worker.generate(this.#handle, request, onPiece && proxy(onPiece), signal),
      signal,
      this.#life.signal,
    );
    this.#contextUsage = result.contextUsage;
    this.#lastMetrics = result.metrics;
    callHandler(onmetrics, result.metrics);
    callHandler(this.onmetrics, result.metrics);
    return result;
  }
}
