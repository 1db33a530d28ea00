/** Makes dist/cli.js, the command line as one file. */
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const bundle = path.join(root, "dist/cli.js");

/** Bundles into a folder of its own and moves the file into place, so that two launches at once never meet a half-written one. */
export async function buildCli() {
  const { build } = await import("vite");
  const startedAt = new Date();
  fs.mkdirSync(path.dirname(bundle), { recursive: true });
  const outDir = fs.mkdtempSync(path.join(path.dirname(bundle), ".cli-"));
  try {
    await build({ root, mode: "cli", logLevel: "silent", build: { outDir } });
    const built = path.join(outDir, "cli.js");
    // A source saved while the build ran may or may not be in it: date the bundle from before.
    fs.utimesSync(built, startedAt, startedAt);
    fs.chmodSync(built, 0o755);
    fs.renameSync(built, bundle);
  } finally {
    fs.rmSync(outDir, { recursive: true, force: true });
  }
}
