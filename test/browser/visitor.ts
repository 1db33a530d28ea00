/** A visitor for the e2e tests: a browser with a window of its own, and a folder served over localhost. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { type BrowserContext, chromium } from "playwright-core";
import { createStaticServer, type StaticServerOptions } from "../../runtime/cli/static-server";
import { BROWSER_ARGS, findBrowser } from "../setup/browser.mjs";

export const root = path.resolve(import.meta.dirname, "../..");
export const modelsRoot = path.join(root, "models");
export const SAMPLE = "smollm2-135m-instruct";
export const QUESTION = "What is the capital of France?";

/** Runs `visit` in a fresh browser, whose store is empty and is gone afterwards. */
export async function asVisitor(visit: (context: BrowserContext) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({ executablePath: process.env.OCHRE_BROWSER ?? findBrowser(), args: BROWSER_ARGS });
  try {
    // Charts format numbers in the browser's language, which a bare machine may not name in a way that Intl knows.
    await visit(await browser.newContext({ locale: "en-US" }));
  } finally {
    await browser.close();
  }
}

export interface ServedFolder {
  url: string;
  /** Paths asked for so far. */
  requests: string[];
  close(): void;
}

/** Serves a page and models as any static host would, with these headers on every answer. */
export async function serveFolder(
  pageRoot: string,
  headers: Record<string, string> = {},
  models: Partial<StaticServerOptions> = {},
): Promise<ServedFolder> {
  const requests: string[] = [];
  const server: Server = createStaticServer({ pageRoot, modelsRoot, ...models });
  server.prependListener("request", (request, response) => {
    requests.push(request.url ?? "");
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://localhost:${port}/`,
    requests,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
