import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { samplePick as twin } from "../../kernels/reference/sample-pick";
import { candidateCount } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { samplingBuffer } from "../../runtime/engine/self-test/cases-token";
import type { Gpu } from "../../runtime/gpu/device";
import { READABLE, readBytes, runOnce, stepState, testGpu } from "./harness";

/** Three candidates of a row: the second is always the best, and its id the token. */
const row = (id: number) => [
  { id: 900, score: 1 },
  { id, score: 3 },
  { id: 2500, score: 2 },
];
const PREFILL = { position: 10, count: 5, row: 4 };
const inputs = [5, 1100, 1200, 1300, 7];

/** The worst cases are a stop token inside a guess that was right, and the step after a stop: it must leave everything as it is. */
const CASES = [
  { name: "moves on by the whole prefill step", state: PREFILL, rows: [row(1100)], stopIds: [7] },
  {
    name: "breaks ties by id",
    state: PREFILL,
    rows: [[1023, 1024, 2500].map((id) => ({ id, score: 5 }))],
    stopIds: [],
  },
  {
    name: "stops at the sixteenth stop id and stays there",
    state: PREFILL,
    rows: [row(1500)],
    stopIds: [...Array(15).keys(), 1500],
  },
  { name: "takes guesses as far as they are right", rows: [1100, 1200, 1999, 7].map(row), stopIds: [] },
  { name: "takes no guess", rows: [1101, 1200, 1300, 7].map(row), stopIds: [] },
  { name: "takes every guess", rows: [1100, 1200, 1300, 7, 1111].map(row), stopIds: [] },
  { name: "stops inside right guesses", rows: [1100, 1200, 1300, 7].map(row), stopIds: [1200] },
  { name: "reads no row beyond the step", state: { position: 3, count: 2, row: 0 }, rows: [1100, 1200].map(row), stopIds: [] },
];

describe("sample-pick", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ state: start = { position: 20, count: 5, row: 0 }, rows, stopIds }) => {
    const V = 3000;
    expect(candidateCount(V)).toBe(rows[0].length);
    const candidates = rows.flat();
    const bytes = new ArrayBuffer(8 * candidates.length);
    candidates.forEach(({ id, score }, i) => {
      new Float32Array(bytes)[2 * i] = score;
      new Uint32Array(bytes)[2 * i + 1] = id;
    });
    const state = stepState(gpu, start);
    const results = gpu.upload("results", new Uint32Array(16).fill(0xffffffff), READABLE);
    const ids = gpu.upload("ids", Uint32Array.from(inputs), READABLE);
    const best = gpu.upload("best", new Uint8Array(bytes));
    const sampling = samplingBuffer(gpu, { stopIds });

    let expected: ReturnType<typeof twin> = { tokens: [], state: { ...start, sampled: 0, done: false } };
    const tokens: number[] = [];
    for (let i = 0; i < 3; i++) {
      await runOnce(gpu, (recorder) => samplePick(recorder, { best, V, sampling, state, ids, results }));
      expected = twin({ rows, inputs, stopIds, state: expected.state });
      tokens.push(...expected.tokens);
      const [position, count, first, sampled, done, token] = new Uint32Array(await readBytes(gpu, state));
      expect({ position, count, row: first, sampled, done: done === 1 }).toEqual(expected.state);
      expect(token).toBe(tokens[tokens.length - 1]);
    }
    const read = [...new Uint32Array(await readBytes(gpu, results))];
    expect(read).toEqual([...tokens, ...Array(16 - tokens.length).fill(0xffffffff)]);
    expect(new Uint32Array(await readBytes(gpu, ids))[0]).toBe(tokens[tokens.length - 1]);
  });
});
