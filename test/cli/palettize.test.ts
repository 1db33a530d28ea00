import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { palettize, palettizeTo } from "../../runtime/cli/palettize";
import { encodeSafetensors } from "../../runtime/formats/safetensors";
import { tinyCheckpoint, tinyConfig, tinyConfigJson } from "../palettize/checkpoint";
import { makeDirectory } from "./model-directory";

let log: MockInstance<typeof console.log>;
beforeEach(() => {
  log = vi.spyOn(console, "log").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A plain checkpoint on disk, and an empty directory to compile into. */
function tinySource(change = (_values: Float32Array) => {}) {
  const config = tinyConfig();
  const { tensors } = tinyCheckpoint(config);
  change(tensors.get("model.layers.1.mlp.gate_proj.weight")!.values);
  const weights = encodeSafetensors(
    [...tensors].map(([name, { shape, values }]) => ({
      name,
      dtype: "F32" as const,
      shape,
      bytes: new Uint8Array(values.buffer),
    })),
  );
  const source = makeDirectory({
    "config.json": tinyConfigJson(config),
    "model.safetensors": weights,
    "tokenizer.json": { model: {} },
  });
  const target = makeDirectory({});
  return { config, source, target, out: path.join(target, "tiny") };
}

describe("ochre palettize", () => {
  it("compiles a directory to one that opens, and reports", async () => {
    const { config, source, target, out } = tinySource();
    await palettize([source, "--out", out]);
    const opened = await openCheckpoint(out);
    await opened.close();
    expect(opened.config).toMatchObject(config);
    expect(opened.config.quantization?.source).toEqual({ name: path.basename(source) });
    expect(readdirSync(target)).toEqual(["tiny"]);
    expect(log.mock.calls).toEqual([
      [expect.stringMatching(/tiny: \d+\.\d\d bits per weight .* MiB, relative error 0\.\d{4}, \d+\.\d s$/)],
    ]);
  });

  it("names the SHA-256 of a source that is one file, and writes the extra files", async () => {
    const { source, out } = tinySource();
    await palettizeTo(path.join(source, "model.safetensors"), out, { extraFiles: { NOTICE: "thanks" } });
    const { quantization_config } = JSON.parse(readFileSync(path.join(out, "config.json"), "utf8"));
    expect(quantization_config.source.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(readFileSync(path.join(out, "NOTICE"), "utf8")).toBe("thanks");
  });

  it("replaces a model only with --force, and nothing else ever", async () => {
    const { source, out } = tinySource();
    await palettize([source, "--out", out]);
    writeFileSync(path.join(out, "stale"), "");
    await expect(palettize([source, "--out", out])).rejects.toThrow(/must not exist but does: .*--force/);
    expect(existsSync(path.join(out, "stale"))).toBe(true);
    await palettize([source, "--out", out, "--force"]);
    expect(existsSync(path.join(out, "stale"))).toBe(false);

    const home = makeDirectory({ "letter.txt": "dear" });
    await expect(palettize([source, "--out", home, "--force"])).rejects.toThrow(/is there, and is no model/);
    await expect(palettize([source, "--out", path.join(home, "letter.txt"), "--force"])).rejects.toThrow(/is no model/);
    expect(readdirSync(home)).toEqual(["letter.txt"]);
  });

  it("an error leaves nothing, and what was there stays", async () => {
    const { source, target, out } = tinySource((values) => {
      values[0] = Number.NaN;
    });
    await expect(palettize([source, "--out", out])).rejects.toMatchObject({ code: "MODEL_FORMAT" });
    expect(readdirSync(target)).toEqual([]);
    mkdirSync(out);
    writeFileSync(path.join(out, "config.json"), "{}");
    await expect(palettize([source, "--out", out, "--force"])).rejects.toMatchObject({ code: "MODEL_FORMAT" });
    expect(readdirSync(target)).toEqual(["tiny"]);
    expect(readdirSync(out)).toEqual(["config.json"]);
  });

  it("an abort leaves nothing", async () => {
    const { source, target, out } = tinySource();
    await expect(palettizeTo(source, out, { signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
    expect(readdirSync(target)).toEqual([]);
  });

  it.each([[[]], [["source"]], [["--out", "x"]], [["a", "b", "--out", "x"]]])("says how it is used for %j", async (argv) => {
    await expect(palettize(argv)).rejects.toThrow("ochre palettize SOURCE --out DIR [--probe-tokens N] [--force]");
  });
});
