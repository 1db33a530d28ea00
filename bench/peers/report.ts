/** What came of the visits: a row for each engine, and Ochre's speed as a multiple of each peer's. Pure. */
import { replyMetrics } from "../../runtime/metrics";
import { median, type Spread, spread } from "../statistics";
import { type Counted, type Generation, type GpuCounts, OCHRE, type Visit } from "./visit";

export const MEASURES = ["shortPrefill", "longPrefill", "shortDecode", "longDecode"] as const;
export type Measure = (typeof MEASURES)[number];

/** Tokens per second; what was not measured is absent. */
export type Speeds = Partial<Record<Measure, number>>;

export interface Row {
  /** Of the contender. */
  title: string;
  /** What goes wrong, where the engine cannot run here; all below is then absent. */
  failure?: string;
  version?: string;
  /** What the page was in, and the adapter that it was given, used or not. */
  browser?: string;
  gpu?: string;
  /** Observed: an engine that dispatched nothing ran on the CPU, whatever it was asked for. */
  backend?: string;
  /** By round. */
  speeds: Speeds[];
  /** For each decoded token. */
  perToken?: GpuCounts;
  /** Tokens of the two prompts, and generated after each, as the engine counted them. */
  tokens?: { short: number; long: number; generated: [number, number] };
  /** What it wrote after the long prompt. */
  text?: string;
}

/** Median and range over the rounds. */
export interface Figure extends Spread {
  median: number;
}

export interface Ratio {
  title: string;
  /** How many times the peer's speed Ochre's is, both of the same round. */
  of: Partial<Record<Measure, Figure>>;
}

/** From the call to the first token is prefill; from there to the end, decoding. */
export function speeds({ short, long }: Pick<Visit, "short" | "long">): Speeds {
  const [few, many] = [rates(short), rates(long)];
  return {
    shortPrefill: few.prefillTokensPerSecond,
    longPrefill: many.prefillTokensPerSecond,
    shortDecode: few.decodeTokensPerSecond,
    longDecode: many.decodeTokensPerSecond,
  };
}

function rates({ calledAt, arrivals, endedAt, promptTokens, generated }: Generation) {
  const [firstAt] = arrivals;
  const batches = [
    { at: firstAt, tokens: 1 },
    { at: endedAt, tokens: generated - 1 },
  ];
  return replyMetrics({ calledAt, prefillStartedAt: calledAt, prefillEndedAt: firstAt, batches, promptTokens, cachedTokens: 0 });
}

/** What decoding asked of the GPU: that of many tokens less that of one, after the same prompt. */
export function perToken(single: Counted, many: Counted): GpuCounts | undefined {
  const tokens = many.generated - single.generated;
  if (tokens < 1) return undefined;
  const of = (kind: keyof GpuCounts) => (many.gpu[kind] - single.gpu[kind]) / tokens;
  return { dispatches: of("dispatches"), submits: of("submits"), buffers: of("buffers"), maps: of("maps") };
}

/** `decode` gives the text of ids. A failure in any round is the engine's failure. */
export function row(title: string, visits: readonly (Visit | Error)[], decode: (ids: number[]) => string): Row {
  const failure = visits.find((visit) => visit instanceof Error);
  if (failure) return { title, failure: failure.message.split("\n", 1)[0].replace(/^page\.\w+: (Error: )?/, ""), speeds: [] };
  const whole = visits.filter((visit): visit is Visit => !(visit instanceof Error));
  const [{ version, browser, gpu, single, short, long }] = whole;
  return {
    title,
    version,
    browser,
    gpu,
    backend: long.gpu.dispatches > 0 ? `WebGPU, ${gpu}` : "CPU",
    speeds: whole.map((visit) => speeds(visit)),
    ...(single && { perToken: perToken(single, short) }),
    tokens: { short: short.promptTokens, long: long.promptTokens, generated: [short.generated, long.generated] },
    text: long.text ?? decode(long.ids ?? []),
  };
}

export function figure(values: readonly (number | undefined)[]): Figure | undefined {
  const known = values.filter((value) => value !== undefined);
  const [middle, around] = [median(known), spread(known)];
  return middle === undefined || around === undefined ? undefined : { median: middle, ...around };
}

/** Of Ochre's row to each other; none where Ochre did not run. What slows a whole round, rounds being compared one by one, cancels out. */
export function ratios(rows: readonly Row[]): Ratio[] {
  const ours = rows.find(({ title, failure }) => title === OCHRE && failure === undefined);
  if (!ours) return [];
  return rows
    .filter((row) => row !== ours && row.failure === undefined)
    .map(({ title, speeds }) => {
      const of = (measure: Measure) =>
        figure(
          speeds.map((theirs, round) => {
            const [own, other] = [ours.speeds[round]?.[measure], theirs[measure]];
            return own && other ? own / other : undefined;
          }),
        );
      return { title, of: Object.fromEntries(MEASURES.map((measure) => [measure, of(measure)])) };
    });
}

export function toMarkdown(rows: readonly Row[]): string {
  const ran = rows.filter(({ failure }) => failure === undefined);
  const tokens = ran.find((row) => row.tokens)?.tokens;
  const [short, long] = [tokens?.short ?? "few", tokens?.long ?? "many"];
  const titles = [`prefill of ${short}`, `prefill of ${long}`, `decode after ${short}`, `decode after ${long}`];
  const speedOf = (row: Row, measure: Measure) => show(figure(row.speeds.map((speeds) => speeds[measure])));
  const parts = [
    ran.length > 0 ? `In ${ran[0].browser}; the page's adapter: ${ran[0].gpu}.` : "Nothing ran.",
    "Tokens per second, median (and range); dispatches / submits / buffers made / maps are for each decoded token.",
    table(
      3,
      ["engine", "version", "backend seen", ...titles, "dispatches / submits / buffers / maps"],
      rows.map((row) =>
        row.failure === undefined
          ? [row.title, row.version, row.backend, ...MEASURES.map((measure) => speedOf(row, measure)), counts(row.perToken)]
          : [row.title, "–", `cannot run here: ${row.failure}`, ...MEASURES.map(() => "–"), "–"],
      ),
    ),
  ];
  const compared = ratios(rows);
  if (compared.length > 0) {
    parts.push(
      "How many times as fast Ochre is, round by round:",
      table(
        1,
        ["Ochre : peer", ...titles],
        compared.map(({ title, of }) => [title, ...MEASURES.map((measure) => show(of[measure]))]),
      ),
    );
  }
  if (ran.length > 0) {
    const texts = ran.map(({ title, text }) => `- ${title}: ${JSON.stringify(text)}`);
    parts.push(`What each wrote after the ${long} tokens:`, texts.join("\n"));
  }
  return `${parts.join("\n\n")}\n`;
}

/** Words first, in `words` columns; then numbers. */
function table(words: number, head: readonly string[], rows: readonly (readonly (string | undefined)[])[]): string {
  const line = (cells: readonly (string | undefined)[]) => `| ${cells.map((cell) => cell ?? "–").join(" | ")} |`;
  return [line(head), line(head.map((_, column) => (column < words ? ":--" : "--:"))), ...rows.map(line)].join("\n");
}

const counts = (perToken?: GpuCounts): string | undefined =>
  perToken && [perToken.dispatches, perToken.submits, perToken.buffers, perToken.maps].map(digits).join(" / ");

const show = (figure: Figure | undefined): string | undefined =>
  figure && `${digits(figure.median)}${figure.min < figure.max ? ` (${digits(figure.min)}–${digits(figure.max)})` : ""}`;

/** Three of them that count, at most two behind the point, none that are zeros. */
const digits = (value: number): string => `${Number(value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2))}`;
