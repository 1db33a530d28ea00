/** `npm start`, met by a visitor: a streamed answer, and another one after a reload with no network and no server. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Page } from "playwright-core";
import { afterEach, expect, it } from "vitest";
import { asVisitor, QUESTION, root } from "./visitor";

let server: ChildProcess | undefined;
afterEach(() => {
  server?.kill();
});

/** The address that `npm start` prints when it is ready. */
async function startPlayground(): Promise<string> {
  server = spawn(process.execPath, ["runtime/cli/launch.mjs", "start", "--port", "0", "--quick"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  for await (const chunk of server.stdout!) {
    output += chunk;
    const address = /http:\/\/localhost:\d+\//.exec(output);
    if (address) return address[0];
  }
  throw new Error(`npm start ended without an address: ${output}`);
}

/** Waits for the model, asks, and returns the answer; `lengths` gets each length that the growing answer was seen with. */
async function ask(page: Page, lengths: number[] = []): Promise<string> {
  await page.getByTestId("model-summary").waitFor({ timeout: 240_000 });
  await page.getByRole("textbox", { name: "Message" }).fill(QUESTION);
  await page.keyboard.press("Enter");
  const reply = page.locator('[data-testid="transcript"] [data-role="assistant"]').last();
  for (;;) {
    const text = (await reply.locator(".text").textContent()) ?? "";
    if (lengths.at(-1) !== text.length) lengths.push(text.length);
    const state = await reply.getAttribute("data-state");
    if (state !== "streaming") {
      expect(state, (await reply.textContent()) ?? "").toBe("done");
      return (await reply.locator(".text").textContent()) ?? "";
    }
    await page.waitForTimeout(50);
  }
}

it("answers in a stream, and again after a reload with the network cut and the server gone", async () => {
  const address = await startPlayground();
  await asVisitor(async (context) => {
    const page = await context.newPage();
    await page.goto(address);
    const lengths: number[] = [];
    expect(await ask(page, lengths)).toMatch(/Paris/);
    expect(lengths.length).toBeGreaterThan(2);
    await expect.poll(() => page.getByTestId("network").textContent(), { timeout: 30_000 }).toMatch(/works offline/);

    await context.setOffline(true);
    server?.kill();
    await once(server!, "exit");
    await page.reload();
    expect(await ask(page)).toMatch(/Paris/);
    expect(await page.getByTestId("model-summary").textContent()).toMatch(/this device\. Kernels: \w/);
  });
});
