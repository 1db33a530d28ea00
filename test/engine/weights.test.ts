/** What a damaged or dishonest palettized checkpoint meets when it is loaded: MODEL_FORMAT by name, and a device left clean. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { loadWeights } from "../../runtime/engine/weights";
import type { Checkpoint, TensorInfo } from "../../runtime/formats/checkpoint";
import { Gpu } from "../../runtime/gpu/device";
import { type TinyModel, tinyModel } from "./tiny-model";

/** The checkpoint with one tensor's bytes or description changed on the way. */
function tampered(
  checkpoint: Checkpoint,
  name: string,
  { bytes = (b) => b, info = (i) => i }: { bytes?: (bytes: Uint8Array) => Uint8Array; info?: (info: TensorInfo) => TensorInfo },
): Checkpoint {
  const original = checkpoint.tensors.get(name);
  if (!original) throw new Error(`no tensor ${name}`);
  return {
    ...checkpoint,
    name: "tampered",
    files: checkpoint.files,
    tensors: new Map([...checkpoint.tensors, [name, info(original)]]),
    async *stream() {
      for await (const entry of checkpoint.stream())
        yield entry.info.name === name ? { info: entry.info, bytes: bytes(entry.bytes.slice()) } : entry;
    },
  };
}

const Q = "model.layers.1.self_attn.q_proj";
const half = (index: number, bits: number) => (bytes: Uint8Array) => {
  new Uint16Array(bytes.buffer)[index] = bits;
  return bytes;
};

describe("loadWeights", () => {
  let tiny: TinyModel;
  let gpu: Gpu;
  beforeAll(async () => {
    tiny = await tinyModel("llama");
    gpu = await Gpu.request(await requestNodeGpu());
  });
  afterAll(() => gpu.destroy());

  it.each([
    { what: "a NaN row scale", name: `${Q}.row_scale`, change: { bytes: half(3, 0x7e00) } },
    { what: "an infinite palette entry", name: `${Q}.palette4`, change: { bytes: half(5, 0x7c00) } },
    { what: "an infinite embedding scale", name: "model.embed_tokens.row_scale", change: { bytes: half(9, 0xfc00) } },
    { what: "a block of 5 bits", name: `${Q}.bits`, change: { bytes: (b: Uint8Array) => b.fill(5) } },
    { what: "bits that disagree with the palettes", name: `${Q}.bits`, change: { bytes: (b: Uint8Array) => b.fill(3) } },
    {
      what: "a plane of another width",
      name: `${Q}.plane0`,
      change: { info: (i: TensorInfo) => ({ ...i, shape: [i.shape[0], i.shape[1] * 2] }) },
    },
    {
      what: "a norm of another width",
      name: "model.norm.weight",
      change: { info: (i: TensorInfo) => ({ ...i, shape: [i.shape[0] - 1] }) },
    },
  ])("refuses $what", async ({ name, change }) => {
    const loading = loadWeights(gpu, tiny.config, tampered(tiny.checkpoint, name, change));
    await expect(loading).rejects.toMatchObject({
      code: "MODEL_FORMAT",
      message: expect.stringContaining(name.replace(/\.bits$/, "")),
    });
  });

  it("refuses sizes in config.json that are not the tensors'", async () => {
    const loading = loadWeights(gpu, { ...tiny.config, F: tiny.config.F + 16 }, tiny.checkpoint);
    await expect(loading).rejects.toMatchObject({ code: "MODEL_FORMAT" });
  });

  it("stops at an abort with the signal's reason", async () => {
    const abort = new AbortController();
    const reason = new Error("closed");
    const loading = loadWeights(gpu, tiny.config, tiny.checkpoint, {
      signal: abort.signal,
      onProgress: () => abort.abort(reason),
    });
    await expect(loading).rejects.toBe(reason);
  });

  it("reports progress that rises to the end", async () => {
    const seen: number[] = [];
    let total = 0;
    await loadWeights(gpu, tiny.config, tiny.checkpoint, {
      onProgress: (loaded, all) => {
        seen.push(loaded);
        total = all;
      },
    });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen[seen.length - 1]).toBe(total);
  });
});
