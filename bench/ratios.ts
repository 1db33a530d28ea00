/** What rows of one run say about each other: decoding by depth, and reading at once against reading step by step. */
import type { BenchRow } from "./report";
import { formatScenario } from "./scenario";
import type { Spread } from "./statistics";

export interface Ratio {
  /** What is divided by what. */
  meaning: string;
  value: number;
  /** The smallest and the largest that any two repetitions give. */
  min: number;
  max: number;
}

/** Of rows that differ in depth alone, decode speeds; of rows that differ in `:steps` alone, prefill speeds. */
export function ratiosOf(rows: readonly BenchRow[]): Ratio[] {
  const shallow = (row: BenchRow) =>
    rows.find((other) => other.depth < row.depth && formatScenario({ ...other, depth: row.depth }) === row.scenario);
  const atOnce = (row: BenchRow) => rows.find((other) => row.stepByStep && `${other.scenario}:steps` === row.scenario);
  return rows.flatMap((row) => {
    const [above, whole] = [shallow(row), atOnce(row)];
    const { promptTokens } = row;
    return [
      ...ratio(`decode speed at depth ${row.depth} / at depth ${above?.depth}`, row, above, "decodeTokensPerSecond"),
      ...ratio(`prefill of ${promptTokens} tokens / ${promptTokens} single steps`, whole, row, "prefillTokensPerSecond"),
    ];
  });
}

function ratio(
  meaning: string,
  above: BenchRow | undefined,
  below: BenchRow | undefined,
  name: "decodeTokensPerSecond" | "prefillTokensPerSecond",
): Ratio[] {
  const [a, b] = [above?.[name], below?.[name]];
  if (!a || !b) return [];
  const range = (row: BenchRow | undefined, mean: number): Pick<Spread, "min" | "max"> =>
    row?.spread[name] ?? { min: mean, max: mean };
  const [over, under] = [range(above, a), range(below, b)];
  return [{ meaning, value: a / b, min: over.min / under.max, max: over.max / under.min }];
}
