/** Brings what a comparison needs, where it is missing or stale: the SDK, the peers' packages, and the model in each one's format. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { build } from "vite";
import { buildSite } from "./site";

const PEERS = "bench/peers";
const MODEL = "models/smollm2-135m-instruct";
const GGUF = ".cache/SmolLM2-135M-Instruct.Q4_1.gguf";
const WORK = ".cache/peers";
const PYTHONS = ["python3", "python"];

export interface Prepared {
  /** Folder to serve. */
  site: string;
  /** Folder of the model's tokenizer. */
  model: string;
  /** Why there is no ONNX export, where there is none: its engines are then rows that say so. */
  exportFailure?: Error;
}

/**
 * @param needsExport whether an engine that takes ONNX is to run: the export needs Python and a gigabyte of its packages.
 * @throws Error where the SDK cannot be built, npm cannot install the peers, or the sample model cannot be had.
 */
export async function prepare(needsExport: boolean): Promise<Prepared> {
  fs.mkdirSync(WORK, { recursive: true });
  execFileSync(process.execPath, ["runtime/cli/launch.mjs", "sample", "--quick"], { stdio: ["ignore", "ignore", "inherit"] });
  if (!fs.existsSync(GGUF)) throw new Error(`${GGUF} is missing: remove ${MODEL} and run this again, which fetches both.`);
  installPackages();
  // The file that npm publishes, of the sources as they are now.
  process.env.NODE_ENV = "production";
  await build({ mode: "index", logLevel: "error", build: { outDir: path.resolve(WORK, "sdk") } });
  const exportFailure = needsExport ? exportModel() : undefined;
  return { site: buildSite({ work: WORK, peers: PEERS, model: MODEL, gguf: GGUF }), model: MODEL, exportFailure };
}

function installPackages(): void {
  const installed = path.join(PEERS, "node_modules/.package-lock.json");
  if (isNewer(installed, path.join(PEERS, "package-lock.json"))) return;
  console.error("Installing the peers' packages.");
  // None of their install scripts does anything that a browser needs.
  const npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
  execFileSync("npm", npm, { cwd: PEERS, stdio: ["ignore", "ignore", "inherit"], shell: process.platform === "win32" });
}

/** @returns Why it failed. */
function exportModel(): Error | undefined {
  const sources = ["export.py", "requirements.txt"].map((name) => path.join(PEERS, name));
  const made = path.join(WORK, "onnx/onnx/model_q4.onnx");
  if (sources.every((source) => isNewer(made, source))) return undefined;
  const log = path.join(WORK, "export.log");
  const output = fs.openSync(log, "w");
  try {
    console.error(`Exporting the model to ONNX; ${log} has the details.`);
    const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: ["ignore", output, output] });
    const environment = path.join(WORK, "venv");
    const python = path.join(environment, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");
    if (!fs.existsSync(python)) run(findPython(), "-m", "venv", environment);
    run(python, "-m", "pip", "install", "--disable-pip-version-check", "-r", sources[1]);
    run(python, sources[0], GGUF, MODEL, path.join(WORK, "onnx"));
    return undefined;
  } catch (cause) {
    return new Error(`the ONNX export failed: see ${log}`, { cause });
  } finally {
    fs.closeSync(output);
  }
}

function findPython(): string {
  for (const python of PYTHONS) {
    try {
      execFileSync(python, ["--version"], { stdio: "ignore" });
      return python;
    } catch {
      // The next one, then.
    }
  }
  throw new Error(`none of ${PYTHONS.join(", ")} works`);
}

function isNewer(file: string, than: string): boolean {
  const made = fs.statSync(file, { throwIfNoEntry: false });
  return made !== undefined && made.mtimeMs >= fs.statSync(than).mtimeMs;
}
