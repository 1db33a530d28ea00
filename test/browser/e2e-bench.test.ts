/** `npm run bench` on a tiny model: the page measures, the command writes what it says, failures have exit codes. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { listen } from "../../runtime/cli/start";
import { createStaticServer } from "../../runtime/cli/static-server";
import makeTinyModel from "../setup/tiny-model";
import { asVisitor, root } from "./visitor";

let folder: string;
beforeAll(() => {
  makeTinyModel();
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-bench-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

const bench = (...args: string[]) =>
  spawnSync(process.execPath, ["bench/launch.mjs", "--model", ".cache/tiny-llama", ...args], { cwd: root, encoding: "utf8" });

it("prints a table and writes a row for each scenario", () => {
  const file = path.join(folder, "rows.json");
  const counts = ["--repetitions", "2", "--warmup", "0"];
  const { status, stdout, stderr } = bench("--scenario", "4x6@0", "--scenario", "70x3@8", ...counts, "--json", file);
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/^\| 4x6@0 \| 2 \|/m);
  const rows = JSON.parse(fs.readFileSync(file, "utf8"));
  expect(rows.map((row: { scenario: string }) => row.scenario)).toEqual(["4x6@0", "70x3@8"]);
  const positive = [
    ...["promptTokens", "generateTokens", "ttftMs", "prefillTokensPerSecond", "decodeTokensPerSecond", "dispatchesPerLayer"],
    ...["dispatchesPerToken", "bytesPerToken", "weightBytes", "rooflineShare", "copyGigabytesPerSecond"],
  ];
  for (const row of rows) {
    expect(positive.filter((name) => !(row[name] > 0))).toEqual([]);
    expect(row.itlMs).toEqual({ p50: expect.any(Number), p95: expect.any(Number) });
    expect(Object.keys(row.spread)).toEqual(["ttftMs", "prefillTokensPerSecond", "decodeTokensPerSecond"]);
    expect(row.browser).toMatch(/^Chrome \d+$/);
    expect(row.kernels).toMatchObject({ choice: { software: true }, source: "prior" });
  }
});

it("prints ratios where rows differ in one thing", () => {
  const { status, stdout, stderr } = bench("--scenario", "20x3@0 20x3@40 20x3@0:steps", "--repetitions", "2", "--warmup", "0");
  expect(status, stderr).toBe(0);
  const number = "\\d+(?:\\.\\d+)?";
  for (const meaning of ["decode speed at depth 40 / at depth 0", "prefill of 20 tokens / 20 single steps"])
    expect(stdout).toMatch(new RegExp(`^\\| ${meaning} \\| ${number} \\| ${number}–${number} \\|$`, "m"));
});

it("shows a visitor at the keyboard where a token's time goes", async () => {
  const server = createStaticServer({ pageRoot: path.join(root, "dist/bench"), modelsRoot: path.join(root, ".cache") });
  const { port } = await listen(server, "localhost");
  await asVisitor(async (context) => {
    const page = await context.newPage();
    await page.goto(`http://localhost:${port}/?model=/models/tiny-llama`);
    await page.getByRole("tab", { name: "Speed" }).focus();
    await page.keyboard.press("ArrowRight");
    await page.getByRole("button", { name: "Time kernels" }).press("Enter");
    await page.getByText("Done.").waitFor({ timeout: 120_000 });
    const rows = page.getByTestId("kernel-times").locator("tbody tr");
    expect((await rows.locator("td:nth-child(2)").allTextContents()).filter(Boolean)).toEqual([
      "qkv_proj",
      "o_proj",
      "gate_up_proj",
      "down_proj",
    ]);
    expect(await rows.first().textContent()).toMatch(/^embed-rotate.*%.*%/);
  }).finally(() => {
    server.closeAllConnections();
    server.close();
  });
});

it("scores a text against another model, and hands the scores out", async () => {
  const server = createStaticServer({ pageRoot: path.join(root, "dist/bench"), modelsRoot: path.join(root, ".cache") });
  const { port } = await listen(server, "localhost");
  await asVisitor(async (context) => {
    const page = await context.newPage();
    await page.goto(`http://localhost:${port}/?model=/models/tiny-llama`);
    await page.getByRole("tab", { name: "Speed" }).focus();
    await page.keyboard.press("ArrowLeft");
    await page.getByRole("combobox", { name: /^Text/ }).selectOption("Your own");
    await page.getByLabel("Your text").fill("the quick brown fox jumps over the lazy dog ".repeat(60));
    await page.getByLabel("Compare with").fill("/models/tiny-llama");
    await page.getByRole("button", { name: "Score" }).press("Enter");
    await page.getByText("Done.").waitFor({ timeout: 120_000 });
    const cells = await page.getByTestId("scores").locator("tbody tr td").allTextContents();
    expect(Number(cells[2])).toBeGreaterThan(100);
    expect(cells[4]).toBe(cells[3]);
    expect(cells.slice(5)).toEqual(["100 %", "0.0000"]);
    const saved = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save as JSON" }).click();
    const [row] = JSON.parse(fs.readFileSync(await (await saved).path(), "utf8"));
    expect(row).toMatchObject({ text: "Your own", source: { topAgreement: 1 } });
    expect(row.perplexity).toBeGreaterThan(1);
  }).finally(() => {
    server.closeAllConnections();
    server.close();
  });
});

it("fails with the model's own error, and with 2 where the command line makes no sense", () => {
  const tooLong = bench("--scenario", "4000x4000@0");
  expect(tooLong.status).toBe(1);
  expect(tooLong.stderr).toMatch(/CONTEXT_FULL/);
  expect(bench("--scenario", "fast").status).toBe(2);
  expect(bench("--repetitions", "0").status).toBe(2);
});
