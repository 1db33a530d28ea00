/**
 * `npm run bench -- [--json FILE] [--model DIR] [--scenario 16x16@0 …] [--repetitions N] [--warmup N] [--headed]`: the bench page
 * in a real browser, without a hand on it. `--ratios` adds what a long context costs and what reading many tokens at once is worth. `--serve` only serves the page. Rows go to stdout as Markdown, progress to stderr.
 */

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import type { Server } from "node:http";
import path from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { build } from "vite";
import { listen } from "../runtime/cli/start";
import { createStaticServer } from "../runtime/cli/static-server";
import { BROWSER_ARGS, findBrowser } from "../test/setup/browser.mjs";
import { type BenchRow, toJson, toMarkdown } from "./report";
import { runCommand } from "./run-command";
import { formatScenario, parseScenarios, RATIO_SCENARIOS } from "./scenario";

const PAGE_ROOT = "dist/bench";
const SAMPLE = "models/smollm2-135m-instruct";

/** The exit code. */
export const main = (argv: string[]): Promise<number> => runCommand(() => readOptions(argv), run);

function readOptions(argv: string[]) {
  const { values } = parseArgs({
    args: argv,
    options: {
      json: { type: "string" },
      model: { type: "string" },
      scenario: { type: "string", multiple: true, default: [] },
      ratios: { type: "boolean", default: false },
      repetitions: { type: "string" },
      warmup: { type: "string" },
      headed: { type: "boolean", default: false },
      serve: { type: "boolean", default: false },
    },
    allowPositionals: false,
  });
  const { scenario, ratios, repetitions, warmup, ...rest } = values;
  const wanted = [...scenario, ...(ratios ? [RATIO_SCENARIOS] : [])].join(" ");
  const scenarios = wanted === "" ? [] : parseScenarios(wanted).map(formatScenario);
  return { ...rest, scenarios, repetitions: count("repetitions", repetitions, 1), warmup: count("warmup", warmup, 0) };
}

function count(option: string, text: string | undefined, least: number): string | undefined {
  if (text === undefined || (/^\d+$/.test(text) && Number(text) >= least)) return text;
  throw new Error(`--${option} must be a whole number of at least ${least} but is ${text}.`);
}

async function run(options: ReturnType<typeof readOptions>): Promise<void> {
  const model = path.resolve(options.model ?? SAMPLE);
  if (options.model === undefined)
    execFileSync(process.execPath, ["runtime/cli/launch.mjs", "sample", "--quick"], { stdio: "inherit" });
  if (!fs.existsSync(path.join(model, "config.json")))
    throw new Error(`--model must be a model directory but ${model} has no config.json.`);
  // A development build of the page would be slower than what visitors get.
  process.env.NODE_ENV = "production";
  await build({ configFile: "vite.bench.config.ts", logLevel: "error" });
  const server = createStaticServer({ pageRoot: PAGE_ROOT, modelsRoot: path.dirname(model) });
  const { port } = await listen(server, "localhost");
  const address = new URL(`http://localhost:${port}/`);
  if (options.serve) {
    console.log(`Ochre bench: ${address.href}`);
    return;
  }
  address.searchParams.set("model", `/models/${encodeURIComponent(path.basename(model))}`);
  for (const scenario of options.scenarios) address.searchParams.append("scenario", scenario);
  for (const name of ["repetitions", "warmup"] as const) if (options[name]) address.searchParams.set(name, options[name]);
  address.searchParams.set("run", "");
  try {
    const rows = await openPage(address.href, options.headed);
    console.log(toMarkdown(rows));
    if (options.json !== undefined) fs.writeFileSync(options.json, toJson(rows));
  } finally {
    close(server);
  }
}

/** The page's rows; what it says of its progress goes to stderr. */
async function openPage(address: string, headed: boolean): Promise<BenchRow[]> {
  const executablePath = process.env.OCHRE_BROWSER ?? findBrowser();
  if (!executablePath) throw new Error("No browser was found: `npm run browser` brings one, OCHRE_BROWSER names another.");
  const browser = await chromium.launch({ executablePath, args: BROWSER_ARGS, headless: !headed });
  let watching: NodeJS.Timeout | undefined;
  try {
    // Charts format numbers in the browser's language, which a bare machine may not name in a way that Intl knows.
    const page = await browser.newPage({ locale: "en-US" });
    page.on("pageerror", (error) => console.error(error.message));
    await page.goto(address);
    let last = "";
    watching = setInterval(async () => {
      const status = await page
        .getByTestId("status")
        .textContent({ timeout: 500 })
        .catch(() => last);
      if (status && status !== last) console.error(status);
      last = status ?? last;
    }, 1000);
    const rows = await page.evaluate(() => globalThis.ochreBench);
    if (!rows) throw new Error("The bench page did not start.");
    return rows;
  } finally {
    clearInterval(watching);
    await browser.close();
  }
}

function close(server: Server): void {
  server.closeAllConnections();
  server.close();
}
