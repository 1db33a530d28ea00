/** The command line behind `ochre`: picks a verb's module, and turns errors into one line and an exit code. */
import { version } from "../../package.json";
import { OchreError } from "../errors";

type Verb = (argv: string[]) => Promise<void>;

/** Each verb is loaded only when it is asked for. MODEL is a model directory, a .safetensors or a .gguf file. */
const VERBS: Readonly<Record<string, { usage: string; does: string; load: () => Promise<Verb> }>> = {
  palettize: {
    usage:
      "(MODEL | hub:OWNER/NAME[@REVISION]) --out DIR [--force] [--hub URL] [--cache DIR] [--probe-tokens N | --calibrate FILE [--calibrate-tokens N]] [--seed S] [--kept N] [--elastic] [--average-bits X [--widths 2,3,4] [--fix NAME=BITS ...] [--sensitivities FILE]] [--plan FILE] [--write-plan FILE] [--threads N] [--gpu auto|on|off]",
    does: "compress a checkpoint to palettes",
    load: async () => (await import("./palettize")).palettize,
  },
  sensitivity: {
    usage: "SOURCE --calibrate FILE --out FILE [--tokens N] [--bits 2|3|4] [--seed S] [--threads N]",
    does: "measure how much each linear matters",
    load: async () => (await import("./sensitivity")).sensitivity,
  },
  write: {
    usage: "SOURCE --out FILE [--tokens N] [--seed S]",
    does: "let a model write a text to calibrate with",
    load: async () => (await import("./write")).write,
  },
  recover: {
    usage:
      "MODEL --source CHECKPOINT --calibrate FILE [--rank R] [--tokens N] [--steps N | --minutes M] [--rate R] [--seed S] [--default] [--threads N]",
    does: "train an adapter that wins back quality",
    load: async () => (await import("./recover")).recover,
  },
  run: {
    usage:
      "--model MODEL (--prompt TEXT | --ids JSON) [--chat] [--max-tokens N] [--temperature T] [--top-k K] [--top-p P] [--min-p P] [--seed S] [--kv f16|int8|int4|k8v4] [--bits N] [--average-bits X] [--adapter DIR ...] [--no-recovery] [--reference] [--json]",
    does: "continue a prompt, or answer it",
    load: async () => (await import("./run")).run,
  },
  eval: {
    usage:
      "--model MODEL --text FILE [--text FILE ...] [--source CHECKPOINT] [--context N] [--tokens N] [--kv f32|f16|int8|int4|k8v4] [--int8 on|off] [--bits N] [--average-bits X] [--adapter DIR ...] [--no-recovery] [--cpu | --reference] [--json] [--out FILE]",
    does: "measure how well a model predicts texts",
    load: async () => (await import("./eval")).evaluate,
  },
  inspect: {
    usage: "(MODEL | --compare MODEL MODEL) [--json]",
    does: "show what a checkpoint holds",
    load: async () => (await import("./inspect")).inspect,
  },
  sample: {
    usage: "[--quick]",
    does: "fetch and palettize the sample model",
    load: async () => (await import("./sample")).sample,
  },
  start: {
    usage: "[--port N] [--host NAME] [--quick]",
    does: "serve the playground on this machine",
    load: async () => (await import("./start")).start,
  },
};

const HELP = `ochre ${version}: a palettized language model on your own GPU

${Object.entries(VERBS)
  .map(([verb, { does }]) => `  ochre ${verb.padEnd(11)} ${does}`)
  .join("\n")}

ochre VERB --help shows a verb's options, ochre --version the version; OCHRE_DEBUG=1 adds stack traces to errors.`;

const isHelp = (word: string): boolean => word === "--help" || word === "-h";

/**
 * Runs one command and returns its exit code: 0; 1 where the work failed; 2 where the command line makes no sense.
 * Reports on stdout, errors on stderr.
 */
export async function runVerb(argv: readonly string[]): Promise<number> {
  const [verb, ...rest] = argv;
  if (verb === "--version" || (verb !== undefined && isHelp(verb))) {
    console.log(verb === "--version" ? version : HELP);
    return 0;
  }
  if (verb === undefined || !Object.hasOwn(VERBS, verb)) {
    console.error(verb === undefined ? HELP : `ochre: there is no verb "${verb}". Verbs are ${Object.keys(VERBS).join(", ")}.`);
    return 2;
  }
  if (rest.some(isHelp)) {
    console.log(`ochre ${verb} ${VERBS[verb].usage}`.trimEnd());
    return 0;
  }
  try {
    const run = await VERBS[verb].load();
    await run(rest);
    return 0;
  } catch (error) {
    return report(verb, error);
  }
}

function report(verb: string, error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  // node:util's parseArgs on an option that the verb has not, or a value that is missing.
  const usage = error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
  if (usage) console.error(`ochre ${verb}: ${message}`);
  else console.error(error instanceof OchreError ? `ochre: [${error.code}] ${message}` : `ochre: ${message}`);
  if (process.env.OCHRE_DEBUG === "1" && error instanceof Error) console.error(error.stack);
  return usage ? 2 : 1;
}
