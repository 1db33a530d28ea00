/**
 * `ochre inspect CHECKPOINT [--json]`: what a model directory or checkpoint file holds, without reading its weights.
 * `ochre inspect --compare A B`: how two palettized models differ (compare.ts).
 */
import { parseArgs } from "node:util";
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { blockCounts, linearShape } from "../formats/check-tensors";
import type { TensorInfo } from "../formats/checkpoint";
import { LINEARS, type PalettizedConfig } from "../formats/palettized";
import { modelLinears } from "../palettize/plan";
import { compareModels, describeComparison } from "./compare";
import { openCheckpoint } from "./open-checkpoint";

export interface Inspection {
  name: string;
  family: string;
  sizes: Pick<ModelConfig, "L" | "D" | "H" | "G" | "d" | "F" | "V" | "contextTokens" | "tiedHead">;
  /** Of the model as it was trained: norms count, though a palettized model has most of them folded. */
  parameters: number;
  bytes: number;
  bitsPerWeight: { linears: number; all: number };
  dtypes: { dtype: string; tensors: number; bytes: number }[];
  /** Blocks of 16 rows at each width; only of a palettized model. */
  blocks?: { bits: number; count: number }[];
  quantization?: Omit<PalettizedConfig, "quant_method">;
  shards: { name: string; bytes: number }[];
}

/** Prints the report on stdout. Throws what openCheckpoint throws, and INVALID_ARGUMENT without exactly one path. */
export async function inspect(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: { json: { type: "boolean", default: false }, compare: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  if (values.compare) {
    if (positionals.length !== 2)
      throw new OchreError("INVALID_ARGUMENT", `[inspect] --compare needs two models but got ${positionals.length}.`);
    const comparison = await compareModels(positionals[0], positionals[1]);
    console.log(values.json ? JSON.stringify(comparison, null, 2) : describeComparison(comparison));
    return;
  }
  if (positionals.length !== 1)
    throw new OchreError("INVALID_ARGUMENT", `[inspect] needs one directory or checkpoint file but got ${positionals.length}.`);
  const report = await inspectCheckpoint(positionals[0]);
  console.log(values.json ? JSON.stringify(report, null, 2) : render(report));
}

export async function inspectCheckpoint(location: string): Promise<Inspection> {
  const { checkpoint, config, shards, close } = await openCheckpoint(location);
  await close();
  const { family, quantization, L, D, H, G, d, F, V, contextTokens, tiedHead } = config;
  const infos = [...checkpoint.tensors.values()];
  const linears = infos.filter(({ name }) => LINEARS.some((linear) => name.includes(`.${linear}.`)));
  const linearWeights = L * LINEARS.map((linear) => linearShape(config, linear)).reduce((n, [rows, cols]) => n + rows * cols, 0);
  const parameters = linearWeights + (tiedHead ? 1 : 2) * V * D + (2 * L + 1) * D;
  const report: Inspection = {
    name: checkpoint.name,
    family,
    sizes: { L, D, H, G, d, F, V, contextTokens, tiedHead },
    parameters,
    bytes: sumBytes(infos),
    bitsPerWeight: { linears: (8 * sumBytes(linears)) / linearWeights, all: (8 * sumBytes(infos)) / parameters },
    dtypes: countTypes(infos),
    shards,
  };
  if (quantization) {
    const { quant_method: _, ...rest } = quantization;
    report.quantization = rest;
    const counts = modelLinears(config).map(({ name, blocks }) => blockCounts(checkpoint.tensors, name, blocks));
    report.blocks = [4, 3, 2].map((bits) => ({ bits, count: counts.reduce((sum, count) => sum + count[bits], 0) }));
  }
  return report;
}

const sumBytes = (infos: readonly TensorInfo[]): number => infos.reduce((sum, { bytes }) => sum + bytes, 0);

function countTypes(infos: readonly TensorInfo[]): Inspection["dtypes"] {
  const types = new Map<string, Inspection["dtypes"][number]>();
  for (const { dtype, bytes } of infos) {
    const row = types.get(dtype) ?? { dtype, tensors: 0, bytes: 0 };
    types.set(dtype, { dtype, tensors: row.tensors + 1, bytes: row.bytes + bytes });
  }
  return [...types.values()].sort((a, b) => b.bytes - a.bytes);
}

function render(report: Inspection): string {
  const { sizes, quantization, blocks } = report;
  const rows: [string, string][] = [
    ["model", `${report.name} (${report.family})`],
    ["layers", `${sizes.L}`],
    ["widths", `residual ${sizes.D}, MLP ${sizes.F}, vocabulary ${sizes.V}${sizes.tiedHead ? " (tied head)" : ""}`],
    ["heads", `${sizes.H} query, ${sizes.G} kv, size ${sizes.d}`],
    ["context", `${sizes.contextTokens} tokens`],
    ["parameters", countText(report.parameters)],
    ["size", sizeText(report.bytes)],
    ["bits per weight", `${report.bitsPerWeight.linears.toFixed(2)} in linears, ${report.bitsPerWeight.all.toFixed(2)} over all`],
  ];
  if (quantization && blocks) {
    const total = blocks.reduce((sum, { count }) => sum + count, 0);
    rows.push(
      ["palettes", blocks.map(({ bits, count }) => `${bits} bits ${((100 * count) / total).toFixed(0)} %`).join(", ")],
      ["rotation", `residual ${rotationText(quantization.rotation.residual)}, head ${rotationText(quantization.rotation.head)}`],
      ["calibration", quantization.calibration],
      ["source", [quantization.source.name, quantization.source.revision, quantization.source.sha256].filter(Boolean).join(" ")],
    );
  }
  const tensors = report.dtypes.map(({ dtype, tensors, bytes }): [string, string] => [`${tensors} x ${dtype}`, sizeText(bytes)]);
  const shards = report.shards.map(({ name, bytes }): [string, string] => [name, sizeText(bytes)]);
  return [table(rows), table(tensors), table(shards)].join("\n\n");
}

const sizeText = (bytes: number): string =>
  bytes < 2 ** 20 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const countText = (count: number): string => (count < 1e6 ? `${count}` : `${(count / 1e6).toFixed(1)} M`);
const rotationText = (spec: PalettizedConfig["rotation"]["head"]): string =>
  spec ? `${spec.dct} x ${spec.hadamard} (seed ${spec.seed})` : "none";

function table(rows: readonly [string, string][]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join("\n");
}
