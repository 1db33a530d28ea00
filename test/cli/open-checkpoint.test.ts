import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { bytesSource } from "../../runtime/formats/byte-source";
import { encodeSafetensors, openSafetensors, type TensorToWrite } from "../../runtime/formats/safetensors";
import { makeDirectory, palettizedModel, plainConfig } from "./model-directory";

const tiny = fileURLToPath(new URL("../golden/tiny/llama", import.meta.url));
const weights = new Uint8Array(readFileSync(path.join(tiny, "model.safetensors")));
const config = readFileSync(path.join(tiny, "config.json"), "utf8");
const golden = await openSafetensors("tiny", [bytesSource("model.safetensors", weights)], { config: {} });
const NORM = "model.norm.weight";

/** The tensors of the tiny model cut into shards. */
async function shardsOf(count: number): Promise<{ files: Record<string, Uint8Array>; weightMap: Record<string, string> }> {
  const lists: TensorToWrite[][] = Array.from({ length: count }, () => []);
  const weightMap: Record<string, string> = {};
  let i = 0;
  for await (const { info, bytes } of golden.stream()) {
    lists[i % count].push({ ...info, bytes });
    weightMap[info.name] = `model-${i++ % count}.safetensors`;
  }
  const files = Object.fromEntries(lists.map((list, n) => [`model-${n}.safetensors`, encodeSafetensors(list)]));
  return { files, weightMap };
}

describe("layouts", () => {
  test("a Hugging Face directory, and the file inside it", async () => {
    for (const location of [tiny, path.join(tiny, "model.safetensors")]) {
      const opened = await openCheckpoint(location);
      expect(opened.config).toMatchObject({ family: "llama", L: 3, D: 64 });
      expect(opened.shards).toEqual([{ name: "model.safetensors", bytes: weights.length }]);
      expect(await opened.checkpoint.read(NORM)).toEqual(await golden.read(NORM));
      await opened.close();
      await expect(opened.checkpoint.read(NORM)).rejects.toThrow();
    }
  });

  test("a chat template in a file of its own counts before the one in tokenizer_config.json", async () => {
    const directory = makeDirectory({
      "config.json": config,
      "model.safetensors": weights,
      "tokenizer_config.json": { bos_token: "<s>", chat_template: "old" },
      "chat_template.jinja": "new",
    });
    const opened = await openCheckpoint(directory);
    await opened.close();
    expect(opened.checkpoint.files.tokenizerConfig).toEqual({ bos_token: "<s>", chat_template: "new" });
  });

  test("a sharded directory, with every JSON file beside it", async () => {
    const { files, weightMap } = await shardsOf(3);
    const directory = makeDirectory({
      ...files,
      "config.json": config,
      "model.safetensors.index.json": { weight_map: weightMap },
      "tokenizer.json": { model: {} },
      "tokenizer_config.json": { chat_template: "x" },
      "generation_config.json": { eos_token_id: [2, 5] },
    });
    const opened = await openCheckpoint(directory);
    expect(opened.checkpoint.name).toBe(path.basename(directory));
    expect(opened.checkpoint.tensors.size).toBe(golden.tensors.size);
    expect(opened.shards.map(({ name }) => name)).toEqual(Object.keys(files));
    expect(await opened.checkpoint.read(NORM)).toEqual(await golden.read(NORM));
    expect(opened.config.eosIds).toEqual([2, 5]);
    expect(opened.checkpoint.files).toMatchObject({ tokenizer: { model: {} }, tokenizerConfig: { chat_template: "x" } });
    await opened.close();
  });

  test("a palettized directory", async () => {
    const opened = await openCheckpoint(makeDirectory(palettizedModel().files));
    expect(opened.config.quantization?.average_bits).toBe(2.5);
    expect(opened.checkpoint.tensors.size).toBe(45);
    const streamed: string[] = [];
    for await (const { info } of opened.checkpoint.stream()) streamed.push(info.name);
    expect(streamed.length).toBe(45);
    await opened.close();
  });
});

describe("refusals", () => {
  const refuse = (location: string, message: string | RegExp, code = "MODEL_FORMAT") =>
    expect(openCheckpoint(location)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  const literal = (text: string) => text.replaceAll(/[[\]/.()"]/g, "\\$&");

  test("nothing there", () => refuse("/no/such/model", literal("[/no/such/model] must be a model directory")));
  test("a file of another kind", () =>
    refuse(path.join(tiny, "golden.json"), literal("must be a model directory, a .safetensors or a .gguf file.")));
  test("no configuration", () => refuse(makeDirectory({ "model.safetensors": weights }), "must hold config.json"));
  test("no weights", () => refuse(makeDirectory({ "config.json": config }), "must hold model.safetensors, or"));
  test("a configuration that is no JSON", () =>
    refuse(makeDirectory({ "config.json": "{", "model.safetensors": weights }), literal("[config.json] must be JSON")));
  test("weights of another model", () =>
    refuse(
      makeDirectory({ "config.json": plainConfig, "model.safetensors": weights }),
      'embed_tokens.weight" must be \\[32, 64\\]',
    ));
  test("another family", () =>
    refuse(
      makeDirectory({ "config.json": { model_type: "mamba" }, "model.safetensors": weights }),
      "mamba",
      "MODEL_UNSUPPORTED",
    ));
  test("a file that is not GGUF", () =>
    refuse(path.join(makeDirectory({ "x.gguf": weights }), "x.gguf"), literal('[x.gguf] must begin with "GGUF"')));
  test("weights cut short", () =>
    refuse(
      makeDirectory({ "config.json": config, "model.safetensors": weights.subarray(0, 600_000) }),
      "but the file has 600000",
    ));

  test("shards that are missing, or lie outside the directory", async () => {
    const index = (weight_map: unknown) =>
      makeDirectory({ "config.json": config, "model.safetensors.index.json": { weight_map } });
    await refuse(
      index({ w: "model-0.safetensors" }),
      "model-0.safetensors\\] must be a readable file but cannot be opened \\(ENOENT\\)",
    );
    await refuse(index({ w: "../model.safetensors" }), "must name plain .safetensors files");
    await refuse(index([]), "must hold weight_map");
  });

  test("a palettized directory without its index, with a shard cut short, or a tensor too few", async () => {
    const { files, index, shards } = palettizedModel();
    const { "model.safetensors.index.json": _, ...rest } = files;
    await refuse(makeDirectory(rest), "a palettized model needs model.safetensors.index.json");
    const [[name, bytes]] = Object.entries(shards);
    await refuse(
      makeDirectory({ ...files, [name]: bytes.subarray(0, 100) }),
      `${literal(name)}\\] must have ${bytes.length} bytes, as model.safetensors.index.json says, but has 100`,
    );
    const promised = { ...index, weight_map: { ...index.weight_map, extra: name } };
    await refuse(makeDirectory({ ...files, "model.safetensors.index.json": promised }), 'lists "extra" but no shard holds it');
  });
});
