/** The table, and the measure against which the next change is held. */
import type { Row } from "./measure";

/** By row: vector registers, and of a matvec's inner loop vector instructions a weight and bytes of its narrowest weight load. */
export interface Baseline {
  /** Version of the Mesa that it was made with: another compiler, other code. */
  mesa: string;
  rows: Record<string, [vgprs: number, valuPerWeight?: number, narrowest?: number]>;
}

/** More of anything than this, against the baseline, is a regression. */
const TOLERANCE = 1.1;

const YARDSTICK = "affine-yardstick";

export const rowName = ({ family, shape, kernel, use, variant }: Row): string =>
  [family, shape, kernel, use, variant || "portable"].filter(Boolean).join(" ");

export function makeBaseline(mesa: string, rows: readonly Row[]): Baseline {
  const entry = ({ vgprs, loop }: Row): Baseline["rows"][string] => (loop ? [vgprs, loop.valu, loop.narrowest] : [vgprs]);
  return { mesa, rows: Object.fromEntries(rows.map((row) => [rowName(row), entry(row)])) };
}

/** JSON with a row a line. */
export function baselineText({ mesa, rows }: Baseline): string {
  const lines = Object.entries(rows).map(([name, values]) => `    ${JSON.stringify(name)}: [${values.join(", ")}]`);
  return `{\n  "mesa": ${JSON.stringify(mesa)},\n  "rows": {\n${lines.join(",\n")}\n  }\n}\n`;
}

/** What got worse by more than the tolerance, in words; rows that the baseline does not know count as well. */
export function regressions(baseline: Baseline, rows: readonly Row[]): string[] {
  return rows.flatMap((row) => {
    const name = rowName(row);
    const before = baseline.rows[name];
    if (!before) return [`${name}: not in the baseline`];
    const [vgprs, valuPerWeight, narrowest] = before;
    const worse = [];
    if (row.vgprs > vgprs * TOLERANCE) worse.push(`${name}: ${row.vgprs} VGPRs, were ${vgprs}`);
    if (row.loop && row.loop.valu > (valuPerWeight ?? 0) * TOLERANCE)
      worse.push(`${name}: ${row.loop.valu} VALU a weight, were ${valuPerWeight}`);
    if (row.loop && row.loop.narrowest < (narrowest ?? 0))
      worse.push(`${name}: weights loaded ${row.loop.narrowest} bytes at a time, were ${narrowest}`);
    return worse;
  });
}

/** The plain affine kernel of the same linear on the same chip. */
export function yardstickOf(row: Row, rows: readonly Row[]): Row | undefined {
  const { family, shape, use, variant } = row;
  return row.use === ""
    ? undefined
    : rows.find((other) => other.kernel === YARDSTICK && rowName(other) === rowName({ ...other, family, shape, use, variant }));
}

const COLUMNS = [
  "kernel",
  "shape",
  "variant",
  "pairs",
  "VGPRs",
  "spilled",
  "waves",
  "LDS",
  "instr.",
  "VALU",
  "loads 4/8/16",
  "weight loads a step",
  "loads/w",
  "LDS/w",
  "VALU/w",
  "affine",
  "ratio",
];

/** A table for each family, its columns aligned as the formatter wants them. */
export function markdown(rows: readonly Row[]): string {
  const tables = [...new Set(rows.map(({ family }) => family))].map((family) => {
    const own = rows.filter((row) => row.family === family && row.kernel !== YARDSTICK);
    const body = own.map((row) => [...cellsOfKernel(row), ...cellsOfLoop(row, rows)].map(String));
    const widths = COLUMNS.map((title, c) => Math.max(title.length, ...body.map((cells) => cells[c].length)));
    const line = (cells: readonly string[]) => `| ${cells.map((cell, c) => cell.padEnd(widths[c])).join(" | ")} |`;
    return [`### ${family}`, "", ...[COLUMNS, widths.map((width) => "-".repeat(width)), ...body].map(line)].join("\n");
  });
  return tables.join("\n\n");
}

function cellsOfKernel(row: Row): (string | number)[] {
  const spilled = `${row.spilledVgprs}/${row.spilledSgprs}/${row.scratchBytes}`;
  const counts = [row.vgprs, spilled, row.occupancy, row.ldsBytes, row.instructions, row.valu, row.loads.join("/")];
  return [`${row.kernel} ${row.use}`.trim(), row.shape, row.variant || "portable", row.pairs, ...counts];
}

function cellsOfLoop(row: Row, rows: readonly Row[]): (string | number)[] {
  const { loop } = row;
  if (!loop) return ["", "", "", "", "", ""];
  const affine = yardstickOf(row, rows)?.loop;
  const weightLoads = Object.entries(loop.weightLoads).map(([name, widths]) => `${name} ${widths}`);
  const cells = [weightLoads.join(", "), loop.loads.toFixed(3), loop.lds.toFixed(2), loop.valu.toFixed(2)];
  return affine ? [...cells, affine.valu.toFixed(2), (loop.valu / affine.valu).toFixed(2)] : [...cells, "", ""];
}
