/** Two runs side by side. A ratio above 1 means that the second is faster, whichever way the number itself points. */
import type { BenchRow } from "./report";

export interface Comparison {
  scenario: string;
  measure: string;
  before: number;
  after: number;
  ratio: number;
}

const MEASURES = [
  { name: "TTFT ms", of: (row: BenchRow) => row.ttftMs, less: true },
  { name: "prefill tok/s", of: (row: BenchRow) => row.prefillTokensPerSecond, less: false },
  { name: "decode tok/s", of: (row: BenchRow) => row.decodeTokensPerSecond, less: false },
  { name: "ITL p50 ms", of: (row: BenchRow) => row.itlMs?.p50, less: true },
];

/** Of the scenarios that both runs have, what both measured; the last row of a scenario counts. */
export function compareRows(before: readonly BenchRow[], after: readonly BenchRow[]): Comparison[] {
  const latest = new Map(before.map((row) => [row.scenario, row]));
  return after.flatMap((row) => {
    const earlier = latest.get(row.scenario);
    if (!earlier) return [];
    return MEASURES.flatMap(({ name, of, less }) => {
      const [a, b] = [of(earlier), of(row)];
      if (!a || !b) return [];
      return [{ scenario: row.scenario, measure: name, before: a, after: b, ratio: less ? a / b : b / a }];
    });
  });
}

/** What else differs between the two: then a ratio is not the code's alone. */
export function differences(before: BenchRow, after: BenchRow): string[] {
  const names = ["model", "gpu", "browser"] as const;
  return names.filter((name) => before[name] !== after[name]).map((name) => `${name}: ${before[name]} → ${after[name]}`);
}
