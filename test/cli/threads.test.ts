import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePool } from "../../runtime/cli/threads";
import { LINEARS } from "../../runtime/formats/palettized";
import { palettize } from "../../runtime/palettize/compile";
import { inputMetric } from "../../runtime/palettize/feedback";
import type { Predictor } from "../../runtime/palettize/predictor";
import { measureSensitivities } from "../../runtime/palettize/sensitivity";
import type { LinearSensitivity } from "../../runtime/palettize/sensitivity-task";
import type { CompilerPool } from "../../runtime/palettize/tasks";
import type { LinearWeights } from "../../runtime/palettize/token-stream";
import { tinyCheckpoint, tinyConfig } from "../palettize/checkpoint";

let folder = "";
/** The command line, which is the entry of its own threads. */
let entry: URL;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-threads-"));
  await build({ root: path.resolve(import.meta.dirname, "../.."), mode: "cli", logLevel: "silent", build: { outDir: folder } });
  entry = pathToFileURL(path.join(folder, "cli.js"));
}, 120_000);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Two blocks and a bit to a task at least, windows of both lengths. */
const config = tinyConfig({ L: 2, D: 64, H: 4, G: 2, d: 16, F: 640 });
const { checkpoint } = tinyCheckpoint(config, 3);
const ids = Array.from({ length: 700 }, (_, i) => (i * 31) % config.V);

async function compiled(pool: CompilerPool): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const write = async (name: string, bytes: Uint8Array) => void files.set(name, Buffer.from(bytes).toString("base64"));
  const text = { ids, sha256: "0".repeat(64) };
  await palettize(checkpoint, config, { sink: { write }, text, allocation: { averageBits: 3.9 }, pool });
  return files;
}

async function measured(pool: CompilerPool): Promise<Map<string, LinearSensitivity>> {
  const all = new Map<string, LinearSensitivity>();
  const onLinear = async (name: string, sensitivity: LinearSensitivity) => void all.set(name, sensitivity);
  const tokens = { ids: ids.slice(0, 40), windowTokens: 16 };
  await measureSensitivities(checkpoint, config, { tokens, bits: 2, seed: 1, onLinear, pool });
  return new Map([...all].sort());
}

/** What a task works on that measures a linear at `bits`. */
const sensitivityTask = (bits: number) => ({
  config,
  layers: [Object.fromEntries(LINEARS.map((linear) => [linear, new Float32Array(64 * 64)])) as LinearWeights],
  linear: "self_attn.q_proj" as const,
  bits,
  inputs: inputMetric(new Float32Array(64 * 64), 64),
  x: new Float32Array(64),
  windowTokens: 1,
  predictor: { config, rotation: null, finalNorm: new Float32Array(64), head: new Float32Array(config.V * 64) } as Predictor,
  expected: new Float32Array(config.V),
});

/** A thread that answers a task in its own way. @param answer What it does to its port. */
function script(name: string, answer: string): URL {
  const file = path.join(folder, `${name}.mjs`);
  fs.writeFileSync(
    file,
    `import { parentPort } from "node:worker_threads"; parentPort.on("message", () => parentPort.${answer});`,
  );
  return pathToFileURL(file);
}

describe("makePool", () => {
  it("gives the same bytes and the same numbers on one thread, on two and on three", async () => {
    const results = [];
    for (const threads of [1, 2, 2, 3]) {
      const pool = makePool(threads, undefined, entry);
      expect(pool.threads).toBe(threads);
      results.push({ files: await compiled(pool), sensitivities: await measured(pool) });
      await pool.close();
    }
    expect(results[0].sensitivities.size).toBe(2 * LINEARS.length);
    for (const result of results.slice(1)) expect(result).toEqual(results[0]);
  }, 120_000);

  it("says which task failed, and goes on", async () => {
    const pool = makePool(2, undefined, entry);
    await expect(pool.run("moments", null as never)).rejects.toMatchObject({
      code: "INTERNAL",
      message: expect.stringContaining("moments"),
    });
    const moments = pool.floats(1);
    await pool.run("moments", { moments, x: Float32Array.of(3), tokens: 1, panels: [0, 1] });
    expect([...moments]).toEqual([9]);
    await pool.close();
  });

  it("brings an OchreError with its code and details", async () => {
    const pool = makePool(
      2,
      undefined,
      script("failing", 'postMessage({ failure: { code: "MODEL_FORMAT", message: "[x] y", details: { z: 1 } } })'),
    );
    const failure = { code: "MODEL_FORMAT", message: "[x] y", details: { z: 1 } };
    await expect(pool.run("sensitivity", sensitivityTask(4))).rejects.toMatchObject(failure);
    await pool.close();
  });

  it("an abort rejects what runs and what waits with its reason", async () => {
    const controller = new AbortController();
    const pool = makePool(2, controller.signal, entry);
    const runs = Array.from({ length: 5 }, () => pool.run("sensitivity", sensitivityTask(4)));
    controller.abort("enough");
    expect((await Promise.allSettled(runs)).map((run) => run.status === "rejected" && run.reason)).toEqual(
      Array(5).fill("enough"),
    );
    await pool.close();
  });

  it("a thread that dies is INTERNAL, and so is what comes after it", async () => {
    const pool = makePool(2, undefined, script("dying", "close(), process.exit(3)"));
    await expect(pool.run("sensitivity", sensitivityTask(4))).rejects.toMatchObject({ code: "INTERNAL" });
    await expect(pool.run("sensitivity", sensitivityTask(4))).rejects.toMatchObject({ code: "INTERNAL" });
    await pool.close();
  });

  it("a closed pool is DISPOSED", async () => {
    const pool = makePool(2, undefined, entry);
    await pool.close();
    await expect(pool.run("sensitivity", sensitivityTask(4))).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
