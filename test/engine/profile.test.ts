/** The profile of a token: every dispatch of the pass is in one row, with the bytes that the program counts. */
import { expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { tinyModel } from "./tiny-model";

it("times every kernel of a token once, and gives its buffers back", async () => {
  const tiny = await tinyModel("llama");
  const engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny });
  const sequence = await engine.createSequence({ contextTokens: 64 });
  const before = engine.gpuBytes;
  const seen: string[] = [];
  const rows = await engine.profile({ depth: 63, onRow: ({ kernel }) => seen.push(kernel) });
  expect(rows.map(({ kernel }) => kernel)).toEqual(seen);
  // All but sampling, which is two dispatches.
  expect(rows.reduce((sum, { dispatches }) => sum + dispatches, 0)).toBe(sequence.dispatchesPerToken - 2);
  for (const { ms, bytes } of rows) {
    expect(ms).toBeGreaterThan(0);
    expect(bytes).toBeGreaterThan(0);
  }
  const matrices = rows.filter(({ weights }) => weights !== "");
  expect(matrices.map(({ weights }) => weights)).toEqual(["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]);
  expect(matrices.every(({ dispatches }) => dispatches === tiny.config.L)).toBe(true);
  // Only the small uniforms that hold shapes stay.
  expect(engine.gpuBytes - before).toBeLessThan(1024);
  const reason = new Error("enough");
  await expect(engine.profile({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  engine.dispose();
});
