/** What a bench run leaves behind: one row a scenario, each complete in itself, so that rows of many runs can be put together. */
import { describeKernels } from "../demo/format";
import type { BenchmarkResult, KernelReport } from "../runtime/index";
import { ratiosOf } from "./ratios";
import { formatScenario } from "./scenario";
import { mean, type Spread, spread } from "./statistics";

type Measured = "ttftMs" | "prefillTokensPerSecond" | "decodeTokensPerSecond";

/** Where the numbers come from. */
export interface Environment {
  model: string;
  gpu: string;
  /** A software adapter: its numbers say nothing about GPUs. */
  software: boolean;
  browser: string;
  /** Absent where the page was built outside a repository. */
  commit?: string;
  /** ISO 8601. */
  date: string;
  /** Measured on this adapter: bytes read plus bytes written. */
  copyGigabytesPerSecond?: number;
  /** Which kernels ran, and how that was decided. Absent from rows of versions that had no choice. */
  kernels?: KernelReport;
}

/** Means over the repetitions; what was not measured is absent. */
export interface BenchRow extends Environment {
  /** `PROMPTxGENERATE@DEPTH`. */
  scenario: string;
  promptTokens: number;
  generateTokens: number;
  depth: number;
  /** The prompt was read one token at a time. */
  stepByStep?: boolean;
  repetitions: number;
  ttftMs?: number;
  /** Between tokens, over all repetitions. */
  itlMs?: { p50: number; p95: number };
  prefillTokensPerSecond?: number;
  decodeTokensPerSecond?: number;
  spread: Partial<Record<Measured, Spread>>;
  dispatchesPerLayer: number;
  dispatchesPerToken: number;
  /** CPU time to encode and submit one token's pass. */
  encodeMsPerToken?: number;
  /** Of weights and cache, read for one token. */
  bytesPerToken: number;
  weightBytes: number;
  kvBytes: number;
  /** Of weights and cache, while decoding. */
  gigabytesPerSecond?: number;
  /** `gigabytesPerSecond` as a share of `copyGigabytesPerSecond`. */
  rooflineShare?: number;
}

export function benchRow(result: BenchmarkResult, environment: Environment): BenchRow {
  const { runs, promptTokens, generateTokens, depth, itlMs, bytesPerToken } = result;
  const measured = (name: Measured) => runs.map((run) => run[name]).filter((value) => value !== undefined);
  const names = ["ttftMs", "prefillTokensPerSecond", "decodeTokensPerSecond"] as const;
  const decodeTokensPerSecond = mean(measured("decodeTokensPerSecond"));
  const gigabytesPerSecond = decodeTokensPerSecond && (decodeTokensPerSecond * bytesPerToken) / 1e9;
  const { copyGigabytesPerSecond } = environment;
  return present({
    scenario: formatScenario(result),
    promptTokens,
    generateTokens,
    depth,
    stepByStep: result.stepByStep || undefined,
    repetitions: runs.length,
    ttftMs: mean(measured("ttftMs")),
    itlMs,
    prefillTokensPerSecond: mean(measured("prefillTokensPerSecond")),
    decodeTokensPerSecond,
    spread: present(Object.fromEntries(names.map((name) => [name, spread(measured(name))]))),
    dispatchesPerLayer: result.dispatchesPerLayer,
    dispatchesPerToken: result.dispatchesPerToken,
    encodeMsPerToken: result.encodeMsPerToken,
    bytesPerToken,
    weightBytes: result.weightBytes,
    kvBytes: result.kvBytes,
    gigabytesPerSecond,
    rooflineShare: gigabytesPerSecond && copyGigabytesPerSecond && gigabytesPerSecond / copyGigabytesPerSecond,
    ...environment,
  });
}

/** Without the fields that are undefined: absent, not empty. */
function present<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

/** Three digits, and a dash for what was not measured. */
export function digits(value: number | undefined): string {
  if (value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : value.toFixed(size >= 10 ? 1 : 2);
}

export const percent = (share: number | undefined) => (share === undefined ? "–" : `${digits(100 * share)} %`);

/** Mean and standard deviation. */
const withDeviation = (row: BenchRow, name: Measured) => {
  const measured = row.spread[name];
  return measured && row.repetitions > 1 ? `${digits(row[name])} ± ${digits(measured.standardDeviation)}` : digits(row[name]);
};

export interface Column {
  title: string;
  meaning: string;
  of(row: BenchRow): string;
  /** Whose smallest and largest measurement belong beside the mean. */
  spread?: Measured;
}

/** Smallest to largest of the repetitions; empty where there is only one. */
export function range(row: BenchRow, name: Measured | undefined): string {
  const measured = name && row.spread[name];
  return measured && row.repetitions > 1 ? `${digits(measured.min)}–${digits(measured.max)}` : "";
}

/** The table's columns, on the page and in Markdown. */
export const COLUMNS: readonly Column[] = [
  { title: "scenario", meaning: "Tokens read x tokens written @ tokens in the cache before.", of: (row) => row.scenario },
  {
    title: "runs",
    meaning: "Repetitions; numbers are their mean ± standard deviation, and smallest–largest.",
    of: (row) => String(row.repetitions),
  },
  {
    title: "TTFT ms",
    meaning: "From the start of the prompt to the first token.",
    of: (row) => withDeviation(row, "ttftMs"),
    spread: "ttftMs",
  },
  {
    title: "prefill tok/s",
    meaning: "How fast the prompt is read.",
    of: (row) => withDeviation(row, "prefillTokensPerSecond"),
    spread: "prefillTokensPerSecond",
  },
  {
    title: "decode tok/s",
    meaning: "How fast tokens are written.",
    of: (row) => withDeviation(row, "decodeTokensPerSecond"),
    spread: "decodeTokensPerSecond",
  },
  {
    title: "ITL p50 / p95 ms",
    meaning: "Between tokens: half of the gaps are shorter than the first number, 95 % than the second.",
    of: ({ itlMs }) => (itlMs ? `${digits(itlMs.p50)} / ${digits(itlMs.p95)}` : "–"),
  },
  {
    title: "MB/token",
    meaning: "Weights and cache that the last token read.",
    of: (row) => digits(row.bytesPerToken / 1e6),
  },
  { title: "GB/s", meaning: "Bytes per token times decode speed.", of: (row) => digits(row.gigabytesPerSecond) },
  {
    title: "of copy",
    meaning: "GB/s as a share of what this adapter reaches when it only copies.",
    of: (row) => percent(row.rooflineShare),
  },
  {
    title: "dispatches layer / token",
    meaning: "Kernel launches of one decoded token.",
    of: (row) => `${digits(row.dispatchesPerLayer).replace(".00", "")} / ${row.dispatchesPerToken}`,
  },
  {
    title: "encode ms",
    meaning: "CPU time to encode and submit one decoded token.",
    of: (row) => digits(row.encodeMsPerToken),
  },
];

/** The sentence above a table: what was measured, on what, with what, when. */
export function headline({ model, gpu, software, browser, commit, date }: BenchRow): string {
  const built = commit ? `, commit ${commit}` : "";
  return `${model} on ${gpu}${software ? " (software adapter)" : ""} in ${browser}${built}, ${date.slice(0, 16).replace("T", " ")} UTC`;
}

export function toMarkdown(rows: readonly BenchRow[]): string {
  if (rows.length === 0) return "";
  const [first] = rows;
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const notes = [
    first.copyGigabytesPerSecond !== undefined && `Copy bandwidth of this adapter: ${digits(first.copyGigabytesPerSecond)} GB/s.`,
    `Weights: ${digits(first.weightBytes / 1e6)} MB.`,
    first.kernels && `Kernels: ${describeKernels(first.kernels)}.`,
    first.software && "A software adapter: these numbers say nothing about GPUs.",
  ].filter((note) => typeof note === "string");
  const ratios = ratiosOf(rows).map(
    ({ meaning, value, min, max }) => `| ${meaning} | ${digits(value)} | ${digits(min)}–${digits(max)} |`,
  );
  return [
    headline(first),
    "",
    line(COLUMNS.map(({ title }) => title)),
    line(COLUMNS.map((_, i) => (i === 0 ? ":--" : "--:"))),
    ...rows.map((row) => line(COLUMNS.map(({ of, spread }) => [of(row), range(row, spread)].filter(Boolean).join("; ")))),
    "",
    notes.join(" "),
    "",
    ...(ratios.length > 0 ? ["| ratio | mean | range |", "| :-- | --: | --: |", ...ratios, ""] : []),
  ].join("\n");
}

export const toJson = (rows: readonly BenchRow[]): string => `${JSON.stringify(rows, null, 2)}\n`;

/** Rows that were saved. @throws Error that says what is wrong with the text. */
export function parseRows(text: string): BenchRow[] {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch {
    throw new Error("This is no JSON. Paste what Copy as JSON gave, or what npm run bench -- --json wrote.");
  }
  const isRow = (row: Partial<BenchRow> | null) =>
    typeof row?.scenario === "string" && typeof row.date === "string" && typeof row.bytesPerToken === "number";
  if (Array.isArray(rows) && rows.length > 0 && rows.every(isRow)) return rows;
  throw new Error("These are no rows of a bench run: a list was expected, each row with scenario, date and bytesPerToken.");
}
