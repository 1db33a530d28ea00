import { computed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { announcement, context, draft, liveRate, newChat, send, stop, streaming, type Turn, turns } from "./conversation";
import { formatCount, formatRate } from "./format";
import { load } from "./models";

const SUGGESTIONS = ["What is the capital of France?", "Why is the sky blue?", "Write a haiku about ochre."];

/** Farther than this from its end, the transcript is being read and must not scroll by itself. */
const FOLLOW_PIXELS = 48;

// Signals rendered as text: a token or a key press changes text nodes, not components.
const rateText = computed(() => (liveRate.value === undefined ? "" : `about ${formatRate(liveRate.value)}`));
const contextText = computed(() => {
  const tokens = context.value;
  return tokens ? `${formatCount(tokens.used)} of ${formatCount(tokens.window)} tokens of context` : "";
});
const canSend = computed(() => load.value.kind === "ready" && !streaming.value && draft.value.trim() !== "");

export function Chat() {
  const message = useRef<HTMLTextAreaElement>(null);
  // Without scrolling: on a small screen the visitor may be reading something else.
  const focusMessage = () => message.current?.focus({ preventScroll: true });
  useEscapeToStop();
  useFocusWhenReady(focusMessage);
  return (
    <section class="chat" aria-label="Chat">
      <Transcript />
      {turns.value.length === 0 && <Suggestions onChosen={focusMessage} />}
      <form
        class="composer"
        onSubmit={(event) => {
          event.preventDefault();
          submitDraft();
        }}
      >
        <label class="visually-hidden" for="message">
          Message
        </label>
        <Message field={message} />
        {streaming.value ? <StopButton onStopped={focusMessage} /> : <SendButton />}
      </form>
      <div class="row small footline">
        <span class="numbers live-rate" data-testid="live-rate">
          {rateText}
        </span>
        <span class="numbers" data-testid="context">
          {contextText}
        </span>
        <button
          type="button"
          class="quiet"
          disabled={turns.value.length === 0}
          onClick={() => {
            newChat();
            focusMessage();
          }}
        >
          New chat
        </button>
      </div>
    </section>
  );
}

function submitDraft(): void {
  if (!canSend.value) return;
  const text = draft.value;
  draft.value = "";
  send(text);
}

function SendButton() {
  return (
    <button type="submit" disabled={!canSend.value}>
      Send
    </button>
  );
}

function StopButton({ onStopped }: { onStopped: () => void }) {
  return (
    <button
      type="button"
      title="Stop (Esc)"
      onClick={() => {
        stop();
        onStopped();
      }}
    >
      Stop
    </button>
  );
}

function Transcript() {
  const scroller = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  // Subscribes to the growing text alone: the list renders when a turn is added, not when a token arrives.
  useSignalEffect(() => {
    turns.value.at(-1)?.text.value;
    const box = scroller.current;
    if (box && follows.current) box.scrollTop = box.scrollHeight;
  });
  return (
    <section
      class="transcript"
      aria-label="Transcript"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard.
      tabIndex={0}
      ref={scroller}
      onScroll={({ currentTarget: box }) => {
        follows.current = box.scrollHeight - box.scrollTop - box.clientHeight < FOLLOW_PIXELS;
      }}
    >
      {turns.value.length === 0 && <Welcome />}
      <ol data-testid="transcript">
        {turns.value.map((turn) => (
          <TurnItem key={turn.id} {...turn} />
        ))}
      </ol>
    </section>
  );
}

function Welcome() {
  return (
    <div class="welcome">
      <h2>{load.value.kind === "ready" ? "Ask it something." : "Load the model, then ask it something."}</h2>
      <p>
        Once it is loaded, cut the network: it goes on answering. After each reply the numbers show where the milliseconds went.
      </p>
    </div>
  );
}

function TurnItem({ role, text, state }: Turn) {
  const { kind } = state.value;
  return (
    <li class={`turn ${role}${kind === "streaming" ? " streaming" : ""}`} data-role={role} data-state={kind}>
      <span class="who">{role === "user" ? "You" : "Model"}</span>
      <p class="text">{text}</p>
      {state.value.kind === "failed" && (
        <div class="failure" role="alert">
          <strong>{state.value.failure.code}</strong>
          <p>{state.value.failure.message}</p>
        </div>
      )}
      {role === "assistant" && kind !== "streaming" && (
        <div class="row small turn-foot">
          <span>{kind === "stopped" && "Stopped; the model forgets this exchange."}</span>
          {text.value !== "" && <CopyButton text={text.value} />}
        </div>
      )}
    </li>
  );
}

function CopyButton({ text }: { text: string }) {
  const copied = useSignal(false);
  return (
    <button
      type="button"
      class="quiet"
      onClick={async () => {
        await navigator.clipboard.writeText(text);
        copied.value = true;
        announcement.value = "Copied.";
      }}
    >
      {copied.value ? "Copied" : "Copy reply"}
    </button>
  );
}

function Suggestions({ onChosen }: { onChosen: () => void }) {
  return (
    <ul class="suggestions" aria-label="Suggestions">
      {SUGGESTIONS.map((suggestion) => (
        <li key={suggestion}>
          <button
            type="button"
            class="chip"
            disabled={load.value.kind !== "ready"}
            onClick={() => {
              send(suggestion);
              onChosen();
            }}
          >
            {suggestion}
          </button>
        </li>
      ))}
    </ul>
  );
}

function Message({ field }: { field: { current: HTMLTextAreaElement | null } }) {
  // Grows with its text by `field-sizing: content` where the browser has it, by measuring where not.
  useSignalEffect(() => {
    draft.value;
    const area = field.current;
    if (!area || CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  });
  return (
    <textarea
      id="message"
      ref={field}
      rows={1}
      placeholder="Ask the model"
      title="Enter sends, Shift+Enter starts a new line"
      value={draft}
      onInput={({ currentTarget }) => {
        draft.value = currentTarget.value;
      }}
      onKeyDown={(event) => {
        // While a word is being composed (Japanese, Chinese …) Enter belongs to the input method.
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        submitDraft();
      }}
    />
  );
}

function useEscapeToStop(): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === "Escape" && streaming.value) stop();
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
}

/** When a model becomes ready the visitor wants to type, unless they are at work elsewhere on the page. */
function useFocusWhenReady(focusMessage: () => void): void {
  useSignalEffect(() => {
    if (load.value.kind !== "ready") return;
    const { activeElement } = document;
    if (activeElement === document.body || activeElement instanceof HTMLButtonElement) focusMessage();
  });
}
