/** A page whose server makes a better model: how far it is, and the way to it. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { buildPage } from "../../runtime/cli/start";
import { parseConfig } from "../../runtime/engine/config";
import { bytesSource } from "../../runtime/formats/byte-source";
import { openGguf } from "../../runtime/formats/gguf";
import { palettize } from "../../runtime/palettize/compile";
import { tinyGguf } from "../formats/tiny-gguf";
import { asVisitor, root, type ServedFolder, serveFolder } from "./visitor";

let modelsRoot: string;
let served: ServedFolder;
let share: number | undefined = 0.4;

async function makeModel(name: string, probeTokens: number): Promise<void> {
  const checkpoint = await openGguf(bytesSource(name, tinyGguf()));
  const folder = path.join(modelsRoot, name);
  fs.mkdirSync(folder);
  const write = async (file: string, bytes: Uint8Array) => fs.writeFileSync(path.join(folder, file), bytes);
  await palettize(checkpoint, parseConfig(checkpoint.files), { sink: { write }, probeTokens });
}

beforeAll(async () => {
  await buildPage();
  modelsRoot = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-models-"));
  await makeModel("quick", 0);
  served = await serveFolder(
    path.join(root, "dist/demo"),
    {},
    { modelsRoot, better: { name: "fine", than: "quick", making: () => share } },
  );
});
afterAll(() => {
  served.close();
  fs.rmSync(modelsRoot, { recursive: true });
});

it("is told of while it is made, and offered when it is ready", async () => {
  await asVisitor(async (context) => {
    const page = await context.newPage();
    await page.goto(served.url);
    await page.getByText("A better model is being made on the server: 40 %.").waitFor();
    // What is not there yet cannot be chosen.
    expect(await page.getByRole("option").allTextContents()).toEqual([
      expect.stringMatching(/^quick ·/),
      expect.stringMatching(/^Other/),
    ]);
    const summary = page.getByTestId("model-summary");
    await expect.poll(() => summary.textContent(), { timeout: 60_000 }).toMatch(/^quick:/);

    await makeModel("fine", 512);
    share = undefined;
    await page.getByTestId("better").getByRole("button", { name: "Switch" }).click({ timeout: 30_000 });
    await expect.poll(() => summary.textContent(), { timeout: 60_000 }).toMatch(/^fine:/);
    expect(await page.getByTestId("better").count()).toBe(0);
  });
});
