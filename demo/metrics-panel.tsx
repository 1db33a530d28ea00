import type { Metrics } from "../runtime/index";
import { metrics } from "./conversation";
import { formatBytes, formatCount, formatMs, formatRate } from "./format";
import { info } from "./models";

interface Row {
  term: string;
  value: string;
  meaning: string;
}

export function MetricsPanel() {
  return (
    <section class="panel" aria-labelledby="metrics-title">
      <h2 id="metrics-title">Where the milliseconds go</h2>
      <Breakdown />
      <dl class="metrics" data-testid="metrics">
        {rows(metrics.value).map((row) => (
          <Entry key={row.term} {...row} />
        ))}
      </dl>
    </section>
  );
}

function rows(reply: Metrics | undefined): Row[] {
  const itl = reply?.itlMs;
  const prompt = reply && `${formatCount(reply.promptTokens)} (${formatCount(reply.cachedTokens)} cached)`;
  return [
    {
      term: "Time to first token",
      value: formatMs(reply?.ttftMs),
      meaning: "From pressing Send to the first token: reading the prompt, tokenizing included.",
    },
    {
      term: "Prefill",
      value: formatRate(reply?.prefillTokensPerSecond),
      meaning: "How fast new prompt tokens were read. They go through the model side by side.",
    },
    {
      term: "Decode",
      value: formatRate(reply?.decodeTokensPerSecond),
      meaning: "How fast the reply was written. Each token must wait for the one before it.",
    },
    {
      term: "Between tokens",
      value: itl ? `${formatMs(itl.p50)} / ${formatMs(itl.p95)}` : "–",
      meaning: "Time from one token to the next: half of the gaps were shorter than the first number, 95 % than the second.",
    },
    {
      term: "Prompt tokens",
      value: prompt ?? "–",
      meaning: "Tokens of the whole conversation so far. Cached ones were kept from earlier turns and cost nothing.",
    },
    {
      term: "Reply tokens",
      value: reply ? formatCount(reply.generatedTokens) : "–",
      meaning: "Tokens that the model wrote in its last reply.",
    },
    {
      term: "Weights",
      value: formatBytes(reply?.weightBytes ?? info.value?.weightBytes),
      meaning: "GPU memory of the model's weights: palettes, their codes and the embedding.",
    },
    {
      term: "KV cache",
      value: formatBytes(reply?.kvBytes),
      meaning: "GPU memory for the keys and values of the conversation, so that no token is read twice.",
    },
    { term: "GPU in all", value: formatBytes(info.value?.gpuBytes), meaning: "Everything that this page holds on the GPU." },
  ];
}

function Entry({ term, value, meaning }: Row) {
  const id = `meaning-${term.toLowerCase().replaceAll(" ", "-")}`;
  return (
    <div>
      <dt>
        <button type="button" class="term" aria-describedby={id} onKeyDown={hideOnEscape}>
          {term}
        </button>
        <span class="meaning" role="tooltip" id={id}>
          {meaning}
        </span>
      </dt>
      <dd class="numbers">{value}</dd>
    </div>
  );
}

function hideOnEscape(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  if (event.key === "Escape") event.currentTarget.blur();
}

interface Part {
  name: string;
  ms: number | undefined;
}

/** The last reply's time as one bar: what came before the prompt was read, reading it, writing the reply. */
function Breakdown() {
  const parts = breakdown(metrics.value);
  return (
    <div class="breakdown" data-testid="breakdown">
      <div class="bar" aria-hidden="true">
        {parts.map(({ name, ms = 0 }) => (
          <span key={name} class={name} style={{ flexGrow: ms }} />
        ))}
      </div>
      <ul class="legend small">
        {parts.map(({ name, ms }) => (
          <li key={name} class={name}>
            {name} <span class="numbers">{formatMs(ms)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function breakdown(reply: Metrics | undefined): Part[] {
  const prefill = reply?.prefillMsPerToken && reply.prefillMsPerToken * (reply.promptTokens - reply.cachedTokens);
  const start = reply?.ttftMs && Math.max(0, reply.ttftMs - (prefill ?? 0));
  const decode = reply?.decodeTokensPerSecond && (1000 * (reply.generatedTokens - 1)) / reply.decodeTokensPerSecond;
  return [
    { name: "start", ms: start },
    { name: "prefill", ms: prefill },
    { name: "decode", ms: decode },
  ];
}
