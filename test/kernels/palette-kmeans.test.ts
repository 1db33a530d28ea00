import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HISTOGRAM_WORDS } from "../../kernels/palette-histogram";
import { KMEANS_SCRATCH, paletteKmeans } from "../../kernels/palette-kmeans";
import { paletteKmeans as twin } from "../../kernels/reference/palette-kmeans";
import type { Gpu } from "../../runtime/gpu/device";
import { clusterHistogram, type Histogram } from "../../runtime/palettize/kmeans";
import { BLOCKS, blockCase } from "./block-fixture";
import { READABLE, readFloats, runOnce, testGpu } from "./harness";

const interleave = ({ weight, inside }: Histogram): Uint32Array =>
  Uint32Array.from({ length: HISTOGRAM_WORDS }, (_, i) => (i % 2 ? inside : weight)[i >> 1]);

describe("palette-kmeans", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  async function palettesOf(histograms: Uint32Array[], widths: number[]): Promise<Float32Array[]> {
    const blocks = histograms.length;
    const all = new Uint32Array(blocks * HISTOGRAM_WORDS);
    histograms.forEach((histogram, block) => {
      all.set(histogram, block * HISTOGRAM_WORDS);
    });
    const palettes = gpu.buffer("palettes", blocks * 64, READABLE);
    await runOnce(gpu, (recorder) =>
      paletteKmeans(recorder, {
        histogram: gpu.upload("histogram", all),
        blocks,
        widths: gpu.upload("widths", Uint32Array.from(widths)),
        sums: gpu.buffer("sums", blocks * KMEANS_SCRATCH.sums),
        gains: gpu.buffer("gains", blocks * KMEANS_SCRATCH.gains),
        cuts: gpu.buffer("cuts", blocks * KMEANS_SCRATCH.cuts),
        palettes,
      }),
    );
    const floats = await readFloats(gpu, palettes);
    return widths.map((width, block) => floats.slice(block * 16, block * 16 + 2 ** width));
  }

  it.each(BLOCKS)("$name: the twin's palettes, and the CPU's, to the last bit", async (shape) => {
    const { histograms } = blockCase(shape);
    const widths = [4, 3, 2];
    const cases = histograms.flatMap((histogram) => widths.map((width) => ({ histogram, width })));
    const actual = await palettesOf(
      cases.map(({ histogram }) => interleave(histogram)),
      cases.map(({ width }) => width),
    );
    cases.forEach(({ histogram, width }, i) => {
      expect(actual[i]).toEqual(twin(interleave(histogram), width));
      expect(actual[i]).toEqual(clusterHistogram(histogram, 2 ** width));
    });
  });

  it("a histogram in one bin of full weight, and one in the outermost bins", async () => {
    const one = new Uint32Array(HISTOGRAM_WORDS);
    one.set([2 ** 28 - 1, 2 ** 27], 2 * 3000);
    const outer = new Uint32Array(HISTOGRAM_WORDS);
    outer.set([2 ** 27, 0], 0);
    outer.set([2 ** 27 - 1, 0], 2 * 4095);
    for (let bin = 1000; bin < 1020; bin++) outer.set([1, 0], 2 * bin);
    const actual = await palettesOf([one, outer], [4, 4]);
    expect(actual[0]).toEqual(twin(one, 4));
    expect(actual[1]).toEqual(twin(outer, 4));
    expect([actual[1][0], actual[1][15]]).toEqual([-2047, 2047]);
  });
});
