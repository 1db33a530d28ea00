import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { samplePick as twin } from "../../kernels/reference/sample-pick";
import { candidateCount } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { samplingBuffer } from "../../runtime/engine/self-test/cases-token";
import type { Gpu } from "../../runtime/gpu/device";
import { READABLE, readBytes, runOnce, stepState, testGpu } from "./harness";

/** The worst case is the step after a stop token: it must leave everything as it is. */
describe("sample-pick", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each([
    { name: "moves on by the whole prefill step", ids: [900, 4, 2000], scores: [1, 3, 2], stopIds: [7] },
    { name: "breaks ties by id", ids: [1023, 1024, 2500], scores: [5, 5, 5], stopIds: [] },
    {
      name: "stops at the sixteenth stop id and stays there",
      ids: [1, 1500, 2500],
      scores: [0, 9, 1],
      stopIds: [...Array(15).keys(), 1500],
    },
  ])("$name", async ({ ids, scores, stopIds }) => {
    const V = 3000;
    const count = candidateCount(V);
    expect(count).toBe(ids.length);
    const candidates = ids.map((id, i) => ({ id, score: scores[i] }));
    const bytes = new ArrayBuffer(8 * count);
    candidates.forEach(({ id, score }, i) => {
      new Float32Array(bytes)[2 * i] = score;
      new Uint32Array(bytes)[2 * i + 1] = id;
    });
    const state = stepState(gpu, { position: 10, count: 5, row: 4 });
    const results = gpu.upload("results", new Uint32Array(4).fill(0xffffffff), READABLE);
    const inputs = gpu.buffer("ids", 16, READABLE);
    const best = gpu.upload("best", new Uint8Array(bytes));
    const sampling = samplingBuffer(gpu, { stopIds });
    const step = () => runOnce(gpu, (recorder) => samplePick(recorder, { best, V, sampling, state, ids: inputs, results }));

    let expected: ReturnType<typeof twin> = { token: undefined, state: { position: 10, count: 5, sampled: 0, done: false } };
    const tokens: number[] = [];
    for (let i = 0; i < 3; i++) {
      await step();
      expected = twin(candidates, stopIds, expected.state);
      if (expected.token !== undefined) tokens.push(expected.token);
      const [position, rows, row, sampled, done, token] = new Uint32Array(await readBytes(gpu, state));
      expect({ position, count: rows, sampled, done: done === 1 }).toEqual(expected.state);
      expect([row, token]).toEqual([0, tokens[tokens.length - 1]]);
    }
    expect([...new Uint32Array(await readBytes(gpu, results))].slice(0, tokens.length)).toEqual(tokens);
    expect(new Uint32Array(await readBytes(gpu, inputs))[0]).toBe(tokens[0]);
  });
});
