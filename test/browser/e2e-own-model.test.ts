/** A visitor with a checkpoint of their own: dropped on the playground it becomes a model that chats, and is still there tomorrow. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { buildPage } from "../../runtime/cli/start";
import { tinyGguf } from "../formats/tiny-gguf";
import { asVisitor, QUESTION, root, type ServedFolder, serveFolder } from "./visitor";
import { watchWorkerMemory } from "./worker-memory";

const SAMPLE_GGUF = path.join(root, ".cache/SmolLM2-135M-Instruct.Q4_1.gguf");
/** Its largest tensor, the embedding table, in f32. */
const LARGEST_TENSOR_BYTES = 49152 * 576 * 4;

let served: ServedFolder;
let noModels: string;

beforeAll(async () => {
  await buildPage();
  noModels = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-models-"));
  served = await serveFolder(path.join(root, "dist/demo"), {}, { modelsRoot: noModels });
});
afterAll(() => {
  served.close();
  fs.rmSync(noModels, { recursive: true });
});

/** Lets go of a file over the page. */
async function drop(page: Page, name: string, bytes: Uint8Array): Promise<void> {
  const transfer = await page.evaluateHandle(
    ([name, base64]) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { lastModified: 1 }));
      return transfer;
    },
    [name, Buffer.from(bytes).toString("base64")],
  );
  await page.dispatchEvent("main", "dragover", { dataTransfer: transfer });
  expect(await page.locator(".drop-zone").getAttribute("class")).toContain("dragging");
  await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
}

/** What the page keeps in IndexedDB. */
const stored = (page: Page) =>
  page.evaluate(async () => {
    const open = indexedDB.open("ochre");
    const database = await new Promise<IDBDatabase>((resolve, reject) => {
      open.onsuccess = () => resolve(open.result);
      open.onerror = () => reject(open.error);
    });
    const count = (name: string) =>
      new Promise<number>((resolve) => {
        const request = database.transaction(name).objectStore(name).count();
        request.onsuccess = () => resolve(request.result);
      });
    const counts = { models: await count("models"), shards: await count("shards") };
    database.close();
    return counts;
  });

async function chat(page: Page): Promise<void> {
  await page.getByTestId("model-summary").waitFor();
  await page.getByText("System prompt and sampling").click();
  await page.getByLabel("Max tokens").fill("8");
  await page.getByRole("textbox", { name: "Message" }).fill("Hello");
  await page.keyboard.press("Enter");
  await page.locator('[data-role="assistant"][data-state="done"]').waitFor({ timeout: 60_000 });
}

it("palettizes a dropped GGUF with progress, chats, and offers it at the next visit without the file", async () => {
  await asVisitor(async (context) => {
    const page = await context.newPage();
    await page.goto(served.url);
    const numbers = page.getByTestId("load-numbers");
    await page.locator(".drop-zone").waitFor();
    const seen = page.evaluate(
      () =>
        new Promise<string[]>((resolve) => {
          const texts: string[] = [];
          new MutationObserver(() => {
            const text = document.querySelector('[data-testid="load-numbers"]')?.textContent;
            if (text && texts.at(-1) !== text) texts.push(text);
            if (document.querySelector('[data-testid="model-summary"]')) resolve(texts);
          }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }),
    );
    await drop(page, "Tiny.F32.gguf", tinyGguf({ layers: 6 }));
    expect((await seen).some((text) => /^\d+ of 42 matrices, .* left/.test(text))).toBe(true);
    await expect.poll(() => page.getByTestId("palettized").textContent()).toMatch(/Palettized in .* relative error/);
    await chat(page);
    expect(await numbers.count()).toBe(0);

    await page.reload();
    await chat(page);
    expect(await page.getByTestId("model-summary").textContent()).toMatch(/^Tiny\.F32: .* Came from this device/);
    expect(await page.getByRole("option").first().textContent()).toMatch(/^Tiny\.F32 · .* · palettized here$/);
    await drop(page, "Tiny.F32.gguf", tinyGguf({ layers: 6 }));
    await page.getByTestId("model-summary").waitFor();
    expect(await page.getByTestId("palettized").count()).toBe(0);
  });
});

it("makes the sample's own GGUF answer, in less than 200 MB besides the largest tensor", async () => {
  await asVisitor(async (context) => {
    const page = await context.newPage();
    const memory = await watchWorkerMemory(page);
    await page.goto(served.url);
    await page.locator(".drop-zone input").setInputFiles(SAMPLE_GGUF);
    await page.getByTestId("palettized").waitFor({ timeout: 540_000 });
    memory.stop();
    expect(memory.peak()).toBeGreaterThan(LARGEST_TENSOR_BYTES);
    expect(memory.peak()).toBeLessThan(200e6 + LARGEST_TENSOR_BYTES);
    await page.getByRole("textbox", { name: "Message" }).fill(QUESTION);
    await page.keyboard.press("Enter");
    const reply = page.locator('[data-role="assistant"][data-state="done"] .text');
    expect(await reply.textContent({ timeout: 60_000 })).toMatch(/Paris/);
  });
});

it("leaves a clean store when it is cancelled, and says what it cannot use", async () => {
  await asVisitor(async (context) => {
    const page = await context.newPage();
    await page.goto(served.url);
    await page.locator(".drop-zone").waitFor();
    await drop(page, "Large.gguf", tinyGguf({ layers: 40 }));
    await page.getByText(/of 280 matrices/).waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Load" }).waitFor();
    expect(await stored(page)).toEqual({ models: 0, shards: 0 });

    const refused: [string, Uint8Array, RegExp][] = [
      ["cat.png", new Uint8Array(10), /MODEL_UNSUPPORTED.*cat\.png/],
      ["Mamba.gguf", tinyGguf({ architecture: "mamba" }), /MODEL_UNSUPPORTED.*must be llama/],
      ["Cut.gguf", tinyGguf().subarray(0, -1000), /MODEL_FORMAT.*Cut\.gguf/],
    ];
    for (const [name, bytes, message] of refused) {
      await drop(page, name, bytes);
      await expect.poll(() => page.getByTestId("load-error").textContent()).toMatch(message);
    }
    expect(await stored(page)).toEqual({ models: 0, shards: 0 });
  });
});
