import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HISTOGRAM_WORDS, paletteHistogram } from "../../kernels/palette-histogram";
import { paletteHistogram as twin } from "../../kernels/reference/palette-histogram";
import type { Gpu } from "../../runtime/gpu/device";
import { EMPHASIS } from "../../runtime/palettize/kmeans";
import { BLOCKS, blockCase } from "./block-fixture";
import { READABLE, readBytes, runOnce, testGpu } from "./harness";

describe("palette-histogram", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(BLOCKS)("$name: the twin's, and the CPU's, to the last bit", async (shape) => {
    const { x, blocks, cols, widths, rowWeights, importance, histograms } = blockCase(shape);
    const histogram = gpu.buffer("histogram", blocks * 4 * HISTOGRAM_WORDS, READABLE);
    await runOnce(gpu, (recorder) =>
      paletteHistogram(recorder, {
        x: gpu.upload("x", x),
        blocks,
        cols,
        widths: gpu.upload("widths", widths),
        rowWeights: gpu.upload("row weights", rowWeights),
        importance: gpu.upload("importance", importance),
        emphasis: gpu.upload("emphasis", EMPHASIS),
        histogram,
      }),
    );
    const actual = new Uint32Array(await readBytes(gpu, histogram));
    expect(actual).toEqual(twin({ x, cols, widths, rowWeights, importance, emphasis: EMPHASIS }));
    histograms.forEach(({ weight, inside }, block) => {
      const own = actual.subarray(block * HISTOGRAM_WORDS, (block + 1) * HISTOGRAM_WORDS);
      expect(own.filter((_, i) => i % 2 === 0)).toEqual(weight);
      expect(own.filter((_, i) => i % 2 === 1)).toEqual(inside);
    });
  });
});
