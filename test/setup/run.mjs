/**
 * `npm test [-- PROJECT…]`: brings what the tests need (a browser with a software GPU, the sample weights, the built
 * files), then runs vitest's projects one after another. The last line counts the tests.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBrowser } from "./browser.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const projects = process.argv.length > 2 ? process.argv.slice(2) : ["unit", "engine", "browser", "e2e"];
const totals = { passed: 0, failed: 0, skipped: 0 };

/** @param {string[]} args Of a Node program, run with our output. */
const node = (args) => spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }).status === 0;

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
await prepare("sample model", () => node(["runtime/cli/launch.mjs", "sample"]));
await prepare("build", () => node(["runtime/cli/build.mjs"]));

const report = path.join(root, ".cache/vitest.json");
for (const project of projects) {
  heading(project);
  fs.rmSync(report, { force: true });
  const vitest = ["node_modules/vitest/vitest.mjs", "run", "--project", project];
  const succeeded = node([...vitest, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`]);
  const counts = fs.existsSync(report) ? JSON.parse(fs.readFileSync(report, "utf8")) : {};
  const { numPassedTests: passed = 0, numFailedTests: failed = 0, numPendingTests: skipped = 0 } = counts;
  totals.passed += passed;
  totals.skipped += skipped;
  // A file that cannot be loaded, or an error outside of any test, fails a run without failing a test.
  totals.failed += failed || (succeeded ? 0 : 1);
}

console.log(`\n${totals.passed} passed, ${totals.failed} failed${totals.skipped ? `, ${totals.skipped} skipped` : ""}`);
process.exitCode = totals.failed > 0 ? 1 : 0;
