/** What a compilation is to do: from options, or from a plan that an earlier one wrote. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { version } from "../../package.json";
import { OchreError } from "../errors";
import { parseJsonObject } from "../formats/json";
import { ALL_WIDTHS, type Allocation, checkAllocation } from "../palettize/allocate";
import { DEFAULT_SEED, type PalettizeOptions, type PalettizeReport } from "../palettize/compile";
import { modelLinears } from "../palettize/plan";
import { type CompilePlan, encodeBits, PLAN_VERSION, parsePlan, planBits } from "../palettize/plan-file";
import { parseSensitivityFile, sensitivityMap } from "../palettize/sensitivity-file";
import { readCalibration, SELF } from "./calibration";
import type { OpenCheckpoint } from "./open-checkpoint";

export const MADE_BY = `ochre ${version}`;
export const DEFAULT_CALIBRATE_TOKENS = 8192;

export interface DecisionOptions {
  /** Random tokens for error feedback; 0 rounds to the nearest entry, which takes a fifth of the time. */
  probeTokens?: number;
  /** A text file, whose tokens replace the random ones, or `SELF`; by default the latter for an average below 4 bits. */
  calibrate?: string;
  /** Of the text; default 8,192. */
  calibrateTokens?: number;
  seed?: number;
  /** Columns that each down_proj keeps. */
  kept?: number;
  /** Codes that can be cut to fewer bits. */
  elastic?: boolean;
  /** Widths to choose from, and what they may take. */
  allocation?: Omit<Allocation, "sensitivities">;
  /** A file that `ochre sensitivity` wrote. */
  sensitivities?: string;
  /** A plan's file. It decides everything but the text, which must be the one that it names. */
  plan?: string;
}

type Decisions = Pick<
  PalettizeOptions,
  "probeTokens" | "text" | "seed" | "kept" | "elastic" | "bits" | "allocation" | "sensitivities"
>;

/**
 * @param sourceSha256 Computes the source's `sourceHash`; called only where something depends on it.
 * @throws OchreError INVALID_ARGUMENT where files do not belong to this source or to each other, MODEL_FORMAT and
 *   MODEL_UNSUPPORTED where they are not what they should be.
 */
export async function decide(
  opened: OpenCheckpoint,
  options: DecisionOptions,
  sourceSha256: () => Promise<string>,
): Promise<{ decisions: Decisions; plan?: CompilePlan }> {
  if (options.plan !== undefined) return followPlan(opened, options.plan, options.calibrate, sourceSha256);
  const { calibrateTokens = DEFAULT_CALIBRATE_TOKENS, probeTokens, seed, kept, elastic } = options;
  // Before the model writes for minutes.
  if (options.allocation) checkAllocation(opened.config, options.allocation);
  const calibrate = options.calibrate ?? (writesItsText(options, opened) ? SELF : undefined);
  const text = calibrate === undefined ? undefined : await readCalibration("palettize", calibrate, opened, calibrateTokens);
  let allocation: Allocation | undefined = options.allocation;
  if (allocation && options.sensitivities !== undefined) {
    const measured = parseSensitivityFile(...(await readObject(options.sensitivities)));
    const names = modelLinears(opened.config).map(({ name }) => name);
    const file = path.basename(options.sensitivities);
    allocation = { ...allocation, sensitivities: sensitivityMap(file, measured, await sourceSha256(), names) };
  }
  return { decisions: { probeTokens, text, seed, kept, elastic, allocation } };
}

/** Without a text: where tokens of one are asked for, or where random ones would tell too little. */
function writesItsText({ calibrateTokens, probeTokens, allocation }: DecisionOptions, { checkpoint }: OpenCheckpoint): boolean {
  if (calibrateTokens !== undefined) return true;
  return checkpoint.files.tokenizer !== undefined && probeTokens === undefined && (allocation?.averageBits ?? 4) < 4;
}

async function followPlan(
  opened: OpenCheckpoint,
  planFile: string,
  calibrate: string | undefined,
  sourceSha256: () => Promise<string>,
): Promise<{ decisions: Decisions; plan: CompilePlan }> {
  const [name, json] = await readObject(planFile);
  const plan = parsePlan(name, json);
  const bits = planBits(name, plan, opened.config, await sourceSha256());
  const { seed, kept, elastic, sensitivities, calibration } = plan;
  const followed = { seed, kept, elastic, bits, sensitivities };
  if (calibration.kind !== "text") {
    if (calibrate !== undefined)
      throw new OchreError("INVALID_ARGUMENT", `[${name}] the plan was made without a text: leave --calibrate out.`);
    return { decisions: { ...followed, probeTokens: calibration.tokens }, plan };
  }
  if (calibrate === undefined) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[${name}] the plan needs the text that it was made with, SHA-256 ${calibration.sha256}: give it with --calibrate.`,
    );
  }
  const text = await readCalibration("palettize", calibrate, opened, calibration.tokens);
  if (text.sha256 !== calibration.sha256 || text.ids.length !== calibration.tokens) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[${name}] the plan was made with ${calibration.tokens} tokens of a text with SHA-256 ${calibration.sha256} but ` +
        `${calibrate} has ${text.ids.length} of them and ${text.sha256}: give that text, or make a new plan with --write-plan.`,
    );
  }
  return { decisions: { ...followed, text }, plan };
}

/** The plan that makes the same model again. */
export function planOf(
  { decisions: { seed = DEFAULT_SEED, allocation }, plan }: Awaited<ReturnType<typeof decide>>,
  { averageBits, bits, kept, elastic, calibration }: PalettizeReport,
  sourceSha256: string,
): CompilePlan {
  return {
    version: PLAN_VERSION,
    madeBy: MADE_BY,
    sourceSha256,
    seed,
    calibration,
    kept,
    elastic,
    averageBits: (plan ?? allocation)?.averageBits ?? averageBits,
    widths: [...(plan?.widths ?? (allocation ? (allocation.widths ?? ALL_WIDTHS) : [4]))],
    sensitivities: plan?.sensitivities ?? { ...allocation?.sensitivities },
    bits: encodeBits(bits),
  };
}

/** A JSON file's name, for messages, and what it holds. */
export async function readObject(file: string): Promise<[string, Record<string, unknown>]> {
  const name = path.basename(file);
  const text = await readFile(file, "utf8").catch((cause) => {
    throw new OchreError("INVALID_ARGUMENT", `[palettize] ${file} must be a readable file but cannot be read (${cause.code}).`, {
      cause,
    });
  });
  return [name, parseJsonObject(name, text)];
}
