/** A page that has nothing but ochre.js and a model directory, under a strict Content-Security-Policy. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Metrics } from "../../runtime/metrics";
import { asVisitor, QUESTION, root, SAMPLE, type ServedFolder, serveFolder } from "./visitor";

const SCRIPT = path.join(root, "dist/ochre.js");
const CSP = "default-src 'self'; worker-src 'self' blob:";

const PAGE = `<!doctype html><title>Script tag</title><script src="ochre.js"></script><script src="page.js"></script>`;

/** What the page tells the test. */
interface Outcome {
  pieces: string[];
  metrics: Metrics;
  /** What the Content-Security-Policy refused. */
  violations: string[];
}

const PAGE_SCRIPT = `
const violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));
window.load = async () => {
  window.model = await Ochre.load("/models/${SAMPLE}");
};
window.ask = async (question) => {
  const session = await model.createSession();
  const pieces = [];
  for await (const piece of session.promptStreaming(question, { maxTokens: 12, seed: 7 })) pieces.push(piece);
  const outcome = { pieces, metrics: session.lastMetrics, violations };
  await model.dispose();
  return outcome;
};
`;

describe("dist/ochre.js", () => {
  let folder: string;
  let served: ServedFolder;

  beforeAll(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-page-"));
    fs.copyFileSync(SCRIPT, path.join(folder, "ochre.js"));
    fs.writeFileSync(path.join(folder, "index.html"), PAGE);
    fs.writeFileSync(path.join(folder, "page.js"), PAGE_SCRIPT);
    served = await serveFolder(folder, { "Content-Security-Policy": CSP });
  });

  afterAll(() => {
    served.close();
    fs.rmSync(folder, { recursive: true });
  });

  it("stays under 120 KB gzipped", () => {
    expect(gzipSync(fs.readFileSync(SCRIPT), { level: 9 }).length).toBeLessThan(120 * 1024);
  });

  it("streams an answer, measures it, and asks the network for nothing once the model is loaded", async () => {
    await asVisitor(async (context) => {
      const page = await context.newPage();
      const asked: string[] = [];
      page.on("request", (request) => asked.push(request.url()));
      await page.goto(served.url);
      await page.evaluate("load()");
      expect(served.requests.some((request) => request.startsWith(`/models/${SAMPLE}/`))).toBe(true);
      const before = { served: served.requests.length, asked: asked.length };

      const { pieces, metrics, violations } = await page.evaluate<Outcome>(`ask(${JSON.stringify(QUESTION)})`);

      expect(pieces.join("")).toMatch(/Paris/);
      expect(pieces.length).toBeGreaterThan(1);
      expect(violations).toEqual([]);
      expect(served.requests.slice(before.served)).toEqual([]);
      expect(asked.slice(before.asked).filter((url) => !url.startsWith("blob:"))).toEqual([]);
      expectComplete(metrics);
    });
  });
});

/** Every field of a reply's metrics that applies to a first, greedy reply of a freshly fetched model. */
function expectComplete(metrics: Metrics): void {
  const { itlMs, loadMs, gpu } = metrics;
  const positive = {
    promptTokens: metrics.promptTokens,
    generatedTokens: metrics.generatedTokens,
    ttftMs: metrics.ttftMs,
    prefillTokensPerSecond: metrics.prefillTokensPerSecond,
    prefillMsPerToken: metrics.prefillMsPerToken,
    decodeTokensPerSecond: metrics.decodeTokensPerSecond,
    itlP50: itlMs?.p50,
    itlP95: itlMs?.p95,
    download: loadMs?.download,
    verify: loadMs?.verify,
    upload: loadMs?.upload,
    compile: loadMs?.compile,
    kvBytes: metrics.kvBytes,
    weightBytes: metrics.weightBytes,
    bytesPerToken: metrics.bytesPerToken,
  };
  const bad = Object.entries(positive).filter(([, value]) => !(Number.isFinite(value) && Number(value) > 0));
  expect(bad).toEqual([]);
  expect(metrics.cachedTokens).toBe(0);
  expect(gpu?.vendor).toEqual(expect.any(String));
  expect(gpu?.architecture).toEqual(expect.any(String));
  expect(gpu?.features).toEqual(expect.any(Array));
  expect(metrics.adapter).toBeNull();
  expect(metrics.seed).toBe(7);
  expect(metrics.generatedTokens).toBeLessThanOrEqual(12);
}
