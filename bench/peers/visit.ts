/** One engine in a fresh browser: what it generated, when, and what it asked of the GPU meanwhile. */
import { type Browser, chromium, type Page } from "playwright-core";
import { BROWSER_ARGS } from "../../test/setup/browser.mjs";
import { browserName } from "../browser";

/** The same for every engine; some read text, some ids. */
export interface Prompt {
  text: string;
  ids: number[];
}

/** Times are those of performance.now() in the page, in milliseconds. */
export interface Generation {
  calledAt: number;
  /** When something new reached the page: a token, or the text of one or more. */
  arrivals: number[];
  /** When the engine said that it was done. */
  endedAt: number;
  /** As the engine counted them. */
  promptTokens: number;
  /** Tokens. */
  generated: number;
  /** From an engine that gives text. */
  text?: string;
  /** From an engine that gives ids. */
  ids?: number[];
}

/** What was asked of WebGPU, by the page and its workers. */
export interface GpuCounts {
  dispatches: number;
  submits: number;
  buffers: number;
  maps: number;
}

export interface Engine {
  version: string;
  /** Greedy, from an empty cache. */
  generate(prompt: Prompt, tokens: number): Promise<Generation>;
}

export type Counted = Generation & { gpu: GpuCounts };

declare global {
  /** Loads the model with one engine: a module of page/, and the backend to ask for where it wants to be told. */
  var openEngine: (module: string, device?: string) => Promise<string>;
  var generateTokens: (prompt: Prompt, tokens: number) => Promise<Counted>;
  /** Of the adapter that a page is given here. */
  var gpuName: () => Promise<string>;
  /** Sums since the page was opened. */
  var gpuCounts: () => Promise<GpuCounts>;
}

export interface Contender {
  /** For --only. */
  name: string;
  title: string;
  /** File of page/. */
  module: string;
  device?: string;
  /** Takes the ONNX export. */
  onnx?: boolean;
}

/** The title of what all others are compared with. */
export const OCHRE = "Ochre";

export const CONTENDERS: readonly Contender[] = [
  { name: "ochre", title: OCHRE, module: "./ochre.js" },
  { name: "onnxruntime", title: "onnxruntime-web", module: "./onnxruntime.js", onnx: true },
  { name: "transformers", title: "transformers.js (webgpu)", module: "./transformers.js", device: "webgpu", onnx: true },
  { name: "transformers-wasm", title: "transformers.js (wasm)", module: "./transformers.js", device: "wasm", onnx: true },
  { name: "wllama", title: "wllama", module: "./wllama.js" },
];

export interface VisitPlan {
  /** Where the page is. */
  address: string;
  executablePath: string;
  short: Prompt;
  long: Prompt;
  /** Most tokens to generate after each prompt. */
  tokens: number;
  /** About the longest that decoding may take, for engines that need longer for all tokens. */
  seconds: number;
  /** Generates a single token as well: what more than that asked of the GPU is decoding's. */
  count: boolean;
}

export interface Visit {
  version: string;
  /** Of the adapter that the page was given, used or not. */
  gpu: string;
  browser: string;
  /** One token after the short prompt; absent unless it was asked for. */
  single?: Counted;
  short: Counted;
  long: Counted;
}

/** Longer than any engine that still makes progress needs. */
const VISIT_MS = 15 * 60_000;
const WARM_UP_TOKENS = 3;

/** @throws Error where the engine cannot run here, with its reason. */
export async function visit(contender: Contender, plan: VisitPlan): Promise<Visit> {
  const browser = await chromium.launch({ executablePath: plan.executablePath, args: BROWSER_ARGS });
  try {
    return await Promise.race([converse(browser, contender, plan), timeOut(), death(browser)]);
  } finally {
    await browser.close();
  }
}

async function converse(browser: Browser, { module, device }: Contender, plan: VisitPlan): Promise<Visit> {
  const page = await browser.newPage();
  const failed = new Promise<never>((_, reject) => {
    page.once("pageerror", reject);
    page.once("crash", () => reject(new Error("The page crashed.")));
  });
  // Whichever of the two comes first: a failure in an engine's worker may leave its promise pending for ever.
  return Promise.race([failed, measure(page, module, device, plan)]);
}

async function measure(page: Page, module: string, device: string | undefined, plan: VisitPlan): Promise<Visit> {
  const { address, short, long, seconds, count } = plan;
  await page.goto(address);
  const version = await page.evaluate(([file, kind]) => globalThis.openEngine(file, kind), [module, device ?? ""] as const);
  const generate = (prompt: Prompt, tokens: number) =>
    page.evaluate(([what, many]) => globalThis.generateTokens(what, many), [prompt, tokens] as const);
  // Both prompts once, for each length may have kernels of its own to compile.
  const { arrivals } = await generate(short, WARM_UP_TOKENS);
  await generate(long, 1);
  const tokens = affordable(arrivals, seconds, plan.tokens);
  return {
    version,
    gpu: await page.evaluate(() => globalThis.gpuName()),
    browser: browserName(await page.evaluate(() => navigator.userAgent)),
    ...(count && { single: await generate(short, 1) }),
    short: await generate(short, tokens),
    long: await generate(long, tokens),
  };
}

/** Tokens of which decoding takes about `seconds`, from the last gap of a warm run; at least 2, or there is nothing to measure. */
export function affordable(arrivals: readonly number[], seconds: number, most: number): number {
  const gap = arrivals[arrivals.length - 1] - arrivals[arrivals.length - 2];
  return gap > 0 ? Math.min(most, Math.max(2, 1 + Math.floor((1000 * seconds) / gap))) : most;
}

function death(browser: Browser): Promise<never> {
  return new Promise((_, reject) => browser.once("disconnected", () => reject(new Error("The browser died."))));
}

function timeOut(): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`Not done after ${VISIT_MS / 60_000} minutes.`)), VISIT_MS).unref();
  });
}
