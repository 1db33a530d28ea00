/**
 * `npm test [-- PASS…]`: brings what the tests need (a browser with a software GPU, the sample weights, the built
 * files), then runs vitest's projects one after another. The last line counts the tests.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBrowser } from "./browser.mjs";
import { ensureFirefox } from "./firefox.mjs";
import { ensureLavapipe } from "./lavapipe.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
/**
 * Arguments for vitest by pass; `f16` is the kernels once more, on a driver that has shader-f16, and `firefox` the SDK and
 * the kernels with another browser's WGSL compiler.
 */
const PASSES = {
  unit: ["--project", "unit"],
  engine: ["--project", "engine"],
  f16: ["--project", "engine", "test/kernels", "test/engine/engine-tiny.test.ts"],
  browser: ["--project", "browser"],
  firefox: ["--project", "firefox"],
  e2e: ["--project", "e2e"],
};
const passes = Object.entries(PASSES).filter(([name]) => process.argv.length === 2 || process.argv.includes(name));
if (passes.length === 0) throw new Error(`There is no such pass; there are ${Object.keys(PASSES).join(", ")}.`);
const totals = { passed: 0, failed: 0, skipped: 0 };

/**
 * Runs a Node program with our output.
 * @param {string[]} args
 * @param {Record<string, string>} [env] On top of our own.
 */
const node = (args, env) =>
  spawnSync(process.execPath, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } }).status === 0;

/** @param {string} title */
const heading = (title) => console.log(`\n== ${title}`);

/**
 * A step of the preparation; one that fails counts as a failed test, and the tests that can run still do.
 * @param {string} title
 * @param {() => boolean | Promise<boolean>} step
 */
async function prepare(title, step) {
  heading(title);
  const succeeded = await Promise.resolve()
    .then(step)
    .catch((error) => {
      console.error(error instanceof Error ? error.message : error);
      return false;
    });
  if (!succeeded) {
    totals.failed++;
    console.error(`FAILED: ${title}`);
  }
}

await prepare("browser", async () => {
  process.env.OCHRE_BROWSER = await ensureBrowser(console.log);
  console.log(process.env.OCHRE_BROWSER);
  return true;
});
await prepare("sample model", () => node(["runtime/cli/launch.mjs", "sample", "--quick"]));
await prepare("build", () => node(["runtime/cli/build.mjs"]));

heading("Mesa's drivers");
// The engine's tests read machine code made by Mesa's compiler for AMD, the f16 pass runs on its software driver.
const f16Driver = ensureLavapipe(console.log);
console.log(f16Driver ? "there" : "not to be had here: the tests that need them are skipped by name, and so is the f16 pass.");

/** @type {Record<string, Record<string, string> | undefined>} */
const environments = { f16: f16Driver };
if (passes.some(([name]) => name === "firefox")) {
  heading("Firefox");
  environments.firefox = await ensureFirefox(console.log, process.env.OCHRE_BROWSER, f16Driver);
  console.log(environments.firefox?.OCHRE_FIREFOX ?? "not to be had here: its pass is skipped. OCHRE_FIREFOX names one by hand.");
}

const report = path.join(root, ".cache/vitest.json");
for (const [name, args] of passes) {
  heading(name);
  const env = name in environments ? environments[name] : {};
  if (!env) {
    console.log("skipped: what it runs on is not to be had here");
    continue;
  }
  fs.rmSync(report, { force: true });
  const vitest = ["node_modules/vitest/vitest.mjs", "run", ...args];
  const succeeded = node([...vitest, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`], env);
  const counts = fs.existsSync(report) ? JSON.parse(fs.readFileSync(report, "utf8")) : {};
  const { numPassedTests: passed = 0, numFailedTests: failed = 0, numPendingTests: skipped = 0 } = counts;
  totals.passed += passed;
  totals.skipped += skipped;
  // A file that cannot be loaded, or an error outside of any test, fails a run without failing a test.
  totals.failed += failed || (succeeded ? 0 : 1);
}

console.log(`\n${totals.passed} passed, ${totals.failed} failed${totals.skipped ? `, ${totals.skipped} skipped` : ""}`);
process.exitCode = totals.failed > 0 ? 1 : 0;
