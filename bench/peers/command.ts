/**
 * `npm run bench:peers -- [--only NAME …] [--rounds N] [--tokens N] [--prompt N] [--seconds N] [--json FILE]`: Ochre beside other
 * engines, on the same prompts in the same browser, greedily and in turn. README.md here says how fair that is. Tables go to
 * stdout, progress to stderr.
 */

import fs from "node:fs";
import { parseArgs } from "node:util";
import { listen } from "../../runtime/cli/start";
import { ensureBrowser } from "../../test/setup/browser.mjs";
import { runCommand } from "../run-command";
import { prepare } from "./prepare";
import { prompts } from "./prompts";
import { type Row, ratios, row, toMarkdown } from "./report";
import { serveSite } from "./site";
import { CONTENDERS, type Contender, type Visit, type VisitPlan, visit } from "./visit";

/** The exit code. */
export const main = (argv: string[]): Promise<number> => runCommand(() => readOptions(argv), run);

function readOptions(argv: string[]) {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string", default: "3" },
      tokens: { type: "string", default: "16" },
      prompt: { type: "string", default: "128" },
      seconds: { type: "string", default: "10" },
      json: { type: "string" },
    },
    allowPositionals: false,
  });
  const names = CONTENDERS.map(({ name }) => name);
  for (const name of values.only) {
    if (!names.includes(name)) throw new Error(`--only must be one of ${names.join(", ")} but is ${name}.`);
  }
  return {
    contenders: CONTENDERS.filter(({ name }) => values.only.length === 0 || values.only.includes(name)),
    rounds: count("rounds", values.rounds, 1),
    tokens: count("tokens", values.tokens, 2),
    prompt: count("prompt", values.prompt, 1),
    seconds: count("seconds", values.seconds, 1),
    json: values.json,
  };
}

function count(option: string, text: string, least: number): number {
  if (/^\d+$/.test(text) && Number(text) >= least) return Number(text);
  throw new Error(`--${option} must be a whole number of at least ${least} but is ${text}.`);
}

async function run({ contenders, rounds, tokens, prompt, seconds, json }: ReturnType<typeof readOptions>): Promise<void> {
  const executablePath = await ensureBrowser(console.error);
  const { site, model, exportFailure } = await prepare(contenders.some(({ onnx }) => onnx));
  const { short, long, decode } = prompts(model, prompt);
  const server = serveSite(site);
  const { port } = await listen(server, "localhost");
  const address = `http://localhost:${port}/page/index.html`;
  const plan = { address, executablePath, short, long, tokens, seconds };
  const results: Results = new Map(contenders.map((entry) => [entry, entry.onnx && exportFailure ? [exportFailure] : []]));
  const rowsSoFar = () => contenders.map((contender) => row(contender.title, results.get(contender) ?? [], decode));
  try {
    for (let round = 1; round <= rounds; round++) {
      await takeTurns(results, { ...plan, count: round === 1 }, `${round} of ${rounds}`);
      // After every round, for a run of slow engines may be cut short.
      if (json !== undefined) writeJson(json, { rounds: round, prompt, tokens, seconds }, rowsSoFar());
    }
    console.log(toMarkdown(rowsSoFar()));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function writeJson(file: string, settings: object, rows: readonly Row[]): void {
  const date = new Date().toISOString();
  fs.writeFileSync(file, `${JSON.stringify({ date, settings, rows, ratios: ratios(rows) }, null, 2)}\n`);
}

type Results = Map<Contender, (Visit | Error)[]>;

/** One round: in turn, so that whatever else this machine does meanwhile falls on all alike. Who failed once is not asked again. */
async function takeTurns(results: Results, plan: VisitPlan, round: string): Promise<void> {
  for (const [contender, visits] of results) {
    if (visits.some((result) => result instanceof Error)) continue;
    const startedAt = performance.now();
    const result = await visit(contender, plan).catch((error: Error) => error);
    visits.push(result);
    const outcome = result instanceof Error ? `failed: ${result.message}` : "done";
    const took = Math.round((performance.now() - startedAt) / 1000);
    console.error(`Round ${round}, ${contender.title}: ${outcome} after ${took} s`);
  }
}
