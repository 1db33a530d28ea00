import { fileURLToPath } from "node:url";
import { afterEach, expect, test, vi } from "vitest";
import { inspect } from "../../runtime/cli/inspect";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { palettize } from "../../runtime/cli/palettize";
import { modelLinears } from "../../runtime/palettize/plan";
import { makeDirectory, palettizedModel } from "./model-directory";

const tiny = fileURLToPath(new URL("../golden/tiny/llama", import.meta.url));

afterEach(() => vi.restoreAllMocks());

async function printed(...argv: string[]): Promise<string> {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  await inspect(argv);
  expect(log).toHaveBeenCalledTimes(1);
  return log.mock.calls[0][0];
}

test("a plain checkpoint as a table", async () => {
  expect(await printed(tiny)).toMatchInlineSnapshot(`
    "model            llama (llama)
    layers           3
    widths           residual 64, MLP 176, vocabulary 512 (tied head)
    heads            4 query, 2 kv, size 16
    context          512 tokens
    parameters       171456
    size             669.8 KiB
    bits per weight  32.00 in linears, 32.00 over all

    29 x F32  669.8 KiB

    model.safetensors  672.7 KiB"
  `);
});

test("a palettized model as a table", async () => {
  const text = await printed(makeDirectory(palettizedModel().files));
  expect(text.replace(/ochre-test-\w+/, "MODEL")).toMatchInlineSnapshot(`
    "model            MODEL (llama)
    layers           1
    widths           residual 64, MLP 128, vocabulary 32 (tied head)
    heads            4 query, 2 kv, size 16
    context          2048 tokens
    parameters       39104
    size             13.6 KiB
    bits per weight  2.52 in linears, 2.86 over all
    palettes         4 bits 0 %, 3 bits 22 %, 2 bits 78 %
    rotation         residual 1 x 64 (seed 3), head none
    calibration      data-free
    source           zeros

    14 x U32  10.0 KiB
    1 x I8    2.0 KiB
    22 x F16  1.4 KiB
    1 x F32   0.3 KiB
    7 x U8    0.0 KiB

    model-00001-of-00002.safetensors  2.2 KiB
    model-00002-of-00002.safetensors  15.7 KiB"
  `);
});

test("--json has every number", async () => {
  const report = JSON.parse(await printed(makeDirectory(palettizedModel().files), "--json"));
  expect(report).toMatchObject({
    family: "llama",
    sizes: { L: 1, D: 64, H: 4, G: 2, d: 16, F: 128, V: 32, contextTokens: 2048, tiedHead: true },
    // Embedding, q and o, k and v, three of the MLP, three norms.
    parameters: 32 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 3 * 64,
    blocks: [
      { bits: 4, count: 0 },
      { bits: 3, count: 7 },
      { bits: 2, count: 25 },
    ],
    quantization: {
      version: 1,
      average_bits: 2.5,
      rotation: { residual: { size: 64, seed: 3 }, head: null },
      source: { name: "zeros" },
    },
  });
  expect(report.shards).toHaveLength(2);
  const bytes = report.dtypes.reduce((sum: number, row: { bytes: number }) => sum + row.bytes, 0);
  expect(report.bytes).toBe(bytes);
  expect(report.bitsPerWeight.all).toBeCloseTo((8 * bytes) / report.parameters, 10);
});

test("an elastic model: blocks, not palettes", async () => {
  const folder = makeDirectory({});
  const argv = ["--elastic", "--probe-tokens", "256", "--average-bits", "4.2", "--fix", "mlp.down_proj=2", "--fix", "q_proj=3"];
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(console, "log").mockImplementation(() => {});
  await palettize([tiny, "--out", `${folder}/model`, ...argv]);
  vi.mocked(console.log).mockClear();
  const { blocks, bitsPerWeight } = JSON.parse(await printed(`${folder}/model`, "--json"));
  const { checkpoint, config, close } = await openCheckpoint(`${folder}/model`);
  const counts = [0, 0, 0, 0, 0];
  for (const { name } of modelLinears(config)) for (const width of await checkpoint.readBytes(`${name}.bits`)) counts[width]++;
  await close();
  expect(blocks).toEqual([4, 3, 2].map((bits) => ({ bits, count: counts[bits] })));
  expect(Math.min(...counts.slice(2))).toBeGreaterThan(0);
  expect(bitsPerWeight.linears).toBeLessThanOrEqual(4.2);
  vi.mocked(console.log).mockClear();
  expect(await printed(`${folder}/model`)).toMatch(/palettes +4 bits \d+ %, 3 bits \d+ %, 2 bits \d+ %/);
});

test("exactly one path", async () => {
  await expect(inspect([])).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("but got 0") });
  await expect(inspect(["a", "b"])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("two models, code for code", async () => {
  const model = withWidths();
  const directory = makeDirectory(model.files);
  expect(await printed("--compare", directory, makeDirectory(model.files))).toBe(
    "the same: 36864 codes, 32 palettes and all other tensors",
  );
  vi.restoreAllMocks();
  const other = withWidths();
  const shard = other.shards["model-00002-of-00002.safetensors"];
  const { tensors, dataStart } = headerOf(shard);
  // Row 16 of q_proj is in its second block, of 2 bits: codes 2 and 1 in its first two columns.
  shard[dataStart + tensors["model.layers.0.self_attn.q_proj.plane0"].data_offsets[0] + 16 * 16] = 2 | (1 << 2);
  shard[dataStart + tensors["model.layers.0.mlp.down_proj.palette3"].data_offsets[0]] = 1;
  shard[dataStart + tensors["model.layers.0.self_attn.o_proj.row_scale"].data_offsets[0]] = 1;
  const comparison = JSON.parse(await printed("--json", "--compare", directory, makeDirectory(other.files)));
  expect(comparison).toEqual({
    differing: expect.arrayContaining([
      "model.layers.0.self_attn.q_proj.plane0",
      "model.layers.0.mlp.down_proj.palette3",
      "model.layers.0.self_attn.o_proj.row_scale",
    ]),
    blocks: { all: 32, otherWidth: 0, otherPalette: 1 },
    rows: { all: 512, differing: 1 },
    codes: { all: 36864, differing: 2, far: 1 },
  });
  expect(comparison.differing.length).toBe(3);
});

test("models of different shapes are not compared", async () => {
  await expect(inspect(["--compare", tiny, tiny])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(inspect(["--compare", tiny])).rejects.toThrow("needs two models but got 1");
});

/** Its first blocks of 3 bits and the others of 2, said in `bits`. */
function withWidths() {
  const model = palettizedModel();
  const shard = model.shards["model-00002-of-00002.safetensors"];
  const { tensors, dataStart } = headerOf(shard);
  for (const [name, { data_offsets }] of Object.entries(tensors)) {
    if (!name.endsWith(".bits")) continue;
    shard.fill(2, dataStart + data_offsets[0], dataStart + data_offsets[1]);
    shard[dataStart + data_offsets[0]] = 3;
  }
  return model;
}

function headerOf(shard: Uint8Array): { tensors: Record<string, { data_offsets: [number, number] }>; dataStart: number } {
  const length = new DataView(shard.buffer, shard.byteOffset).getUint32(0, true);
  return { tensors: JSON.parse(new TextDecoder().decode(shard.subarray(8, 8 + length))), dataStart: 8 + length };
}
