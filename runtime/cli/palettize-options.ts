/** The options of `ochre palettize`. */
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { MOST_KEPT } from "../palettize/plan";
import { MAX_PROBE_TOKENS, MAX_SEED } from "../palettize/plan-file";
import { GPU_CHOICES } from "./gpu-pool";
import { readNumber } from "./options";
import type { PalettizeToOptions } from "./palettize";
import { MAX_THREADS } from "./threads";

/** @throws OchreError INVALID_ARGUMENT without exactly one source and --out, or for options that make no sense together. */
export function readPalettizeOptions(argv: string[]): { source: string; out: string; options: PalettizeToOptions } {
  const { values, positionals } = parseArgs({
    args: argv,
    options: {
      out: { type: "string" },
      force: { type: "boolean", default: false },
      threads: { type: "string" },
      hub: { type: "string" },
      cache: { type: "string" },
      "probe-tokens": { type: "string" },
      calibrate: { type: "string" },
      "calibrate-tokens": { type: "string" },
      "average-bits": { type: "string" },
      widths: { type: "string" },
      fix: { type: "string", multiple: true },
      sensitivities: { type: "string" },
      seed: { type: "string" },
      kept: { type: "string" },
      elastic: { type: "boolean" },
      plan: { type: "string" },
      "write-plan": { type: "string" },
      gpu: { type: "string", default: "auto" },
    },
    allowPositionals: true,
  });
  if (positionals.length !== 1 || !values.out) {
    throw invalid("needs a source and a place: ochre palettize SOURCE --out DIR [--probe-tokens N] [--force].");
  }
  const { out, force, fix, widths, elastic, ...texts } = values;
  refuseTogether(
    values,
    "plan",
    "probe-tokens",
    "calibrate-tokens",
    "average-bits",
    "widths",
    "fix",
    "sensitivities",
    "seed",
    "kept",
    "elastic",
  );
  refuseTogether(values, "probe-tokens", "calibrate", "calibrate-tokens");
  if (values["average-bits"] === undefined) requireWith(values, "calibrate", "calibrate-tokens");
  requireWith(values, "average-bits", "widths", "fix", "sensitivities");
  const whole = (option: keyof typeof texts, min: number, max: number) => {
    const text = texts[option];
    return text === undefined ? undefined : readNumber("palettize", option, text, { min, max, whole: true });
  };
  const average = texts["average-bits"];
  const averageBits = average === undefined ? undefined : readNumber("palettize", "average-bits", average, { min: 2, max: 16 });
  const gpu = GPU_CHOICES.find((choice) => choice === texts.gpu);
  if (!gpu) throw invalid(`--gpu must be auto, on or off but is ${JSON.stringify(texts.gpu)}.`);
  const options: PalettizeToOptions = {
    force,
    gpu,
    threads: whole("threads", 1, MAX_THREADS),
    hub: texts.hub,
    cache: texts.cache,
    probeTokens: whole("probe-tokens", 0, 65536),
    calibrate: texts.calibrate,
    calibrateTokens: whole("calibrate-tokens", 1, MAX_PROBE_TOKENS),
    seed: whole("seed", 0, MAX_SEED),
    kept: whole("kept", 0, MOST_KEPT),
    elastic,
    allocation:
      averageBits === undefined ? undefined : { averageBits, widths: widths?.split(",").map(Number), fix: readFix(fix) },
    sensitivities: texts.sensitivities,
    plan: texts.plan,
    writePlan: texts["write-plan"],
  };
  return { source: positionals[0], out, options };
}

/** `mlp.down_proj=4` and so on. */
function readFix(entries: readonly string[] = []): Record<string, number> {
  const pairs = entries.map((entry): [string, number] => {
    const [, name, width] = /^([\w.]+)=([234])$/.exec(entry) ?? [];
    if (!name) throw invalid(`--fix must be a linear and its width, such as mlp.down_proj=4, but is ${JSON.stringify(entry)}.`);
    return [name, Number(width)];
  });
  return Object.fromEntries(pairs);
}

function refuseTogether(options: Partial<Record<string, unknown>>, one: string, ...others: string[]): void {
  const other = others.find((option) => options[option] !== undefined);
  if (options[one] !== undefined && other) throw invalid(`--${one} leaves nothing for --${other} to say: give one of them.`);
}

function requireWith(options: Partial<Record<string, unknown>>, one: string, ...others: string[]): void {
  const other = others.find((option) => options[option] !== undefined);
  if (options[one] === undefined && other) throw invalid(`--${other} needs --${one}.`);
}

const invalid = (what: string): OchreError => new OchreError("INVALID_ARGUMENT", `[palettize] ${what}`);
