/** Runs the compilation on a chip that is not there: Mesa's driver for AMD behind null-device.c, a process for every family. */
import { execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Where Mesa's driver is, and what its loading needs of the environment. */
export interface Radv {
  library: string;
  env: Record<string, string>;
}

/** RDNA 3, RDNA 2 and GCN 5, which has no dot product of packed bytes. */
export const FAMILIES = ["navi31", "navi21", "vega10"] as const;

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Builds null-device.c and tells the Vulkan loader of it; returns the manifest.
 * @throws Error without a C compiler.
 */
export function buildNullDevice(): string {
  const folder = path.join(root, ".cache/isa");
  const library = path.join(folder, "null-device.so");
  const manifest = path.join(folder, "null-device.json");
  fs.mkdirSync(folder, { recursive: true });
  const source = path.join(root, "bench/isa/null-device.c");
  try {
    execFileSync("cc", ["-O1", "-Wall", "-Wextra", "-shared", "-fPIC", source, "-o", library, "-ldl"], { stdio: "pipe" });
  } catch (cause) {
    throw new Error(
      "[isa] null-device.c must be compiled with cc but that failed. Install a C compiler (apt-get install gcc libc6-dev).",
      {
        cause,
      },
    );
  }
  fs.writeFileSync(
    manifest,
    JSON.stringify({ file_format_version: "1.0.0", ICD: { library_path: library, api_version: "1.3.0" } }),
  );
  return manifest;
}

/** All that the driver prints while it compiles a decode step for one family, between the marks of compile.ts. */
export async function compileFor(family: string, radv: Radv, manifest: string): Promise<string> {
  const env = {
    ...process.env,
    ...radv.env,
    OCHRE_RADV: radv.library,
    VK_ICD_FILENAMES: manifest,
    RADV_FORCE_FAMILY: family,
    RADV_DEBUG: "nocache,shaders,shaderstats",
  };
  // Into a file: Node makes pipes non-blocking, and the driver drops what does not fit into one.
  const log = path.join(path.dirname(manifest), `${family}.log`);
  const file = fs.openSync(log, "w");
  try {
    const program = path.join(root, "bench/isa/run.mjs");
    const options = { env, cwd: root, timeout: 300_000, stdio: ["ignore", "inherit", file] } satisfies SpawnOptions;
    const [status, signal] = await once(spawn(process.execPath, [program, "compile"], options), "close");
    const output = fs.readFileSync(log, "utf8");
    if (status === 0) return output;
    throw new Error(
      `[isa] compiling for ${family} ended with ${signal ?? status}; the last lines of ${log}:\n${output.slice(-2000)}`,
    );
  } finally {
    fs.closeSync(file);
  }
}
