/**
 * A scenario is how many tokens are read, how many are written, and how many were there before: `128x32@1024`. With `:steps`
 * behind it the prompt is read one token at a time, to see what reading many at once is worth.
 */
export interface Scenario {
  promptTokens: number;
  generateTokens: number;
  /** Tokens in the cache beforehand. */
  depth: number;
  stepByStep?: boolean;
}

export const formatScenario = ({ promptTokens, generateTokens, depth, stepByStep }: Scenario): string =>
  `${promptTokens}x${generateTokens}@${depth}${stepByStep ? ":steps" : ""}`;

/** Scenarios separated by spaces, commas or lines; without `@depth` the cache is empty. @throws Error that names the wrong one. */
export function parseScenarios(text: string): Scenario[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== "");
  if (words.length === 0) throw new Error("Name at least one scenario, like 16x16@0.");
  return words.map((word) => {
    const match = /^(\d+)x(\d+)(?:@(\d+))?(:steps)?$/.exec(word);
    const [promptTokens, generateTokens, depth] = [match?.[1], match?.[2], match?.[3]].map((digits) => Number(digits ?? 0));
    const stepByStep = match?.[4] !== undefined;
    if (promptTokens > 0 && generateTokens > 0) return { promptTokens, generateTokens, depth, ...(stepByStep && { stepByStep }) };
    throw new Error(`A scenario is written PROMPTxGENERATE@DEPTH, like 16x16@0 or 64x1@0:steps, but one is ${word}.`);
  });
}

/** What a visitor measures unasked: short on a software adapter, which writes a few tokens a second. */
export function defaultPlan(software: boolean): { scenarios: string; repetitions: number; warmup: number } {
  if (software) return { scenarios: "16x8@0", repetitions: 2, warmup: 1 };
  return { scenarios: "16x64@0 512x64@0 16x64@1024", repetitions: 5, warmup: 1 };
}

/** What long contexts cost decoding, and what reading many tokens at once is worth: bench/ratios.ts makes ratios of them. */
export const RATIO_SCENARIOS = "1x24@16 1x24@1024 256x1@0 256x1@0:steps";
