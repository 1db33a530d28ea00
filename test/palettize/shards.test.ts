import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../runtime/formats/byte-source";
import { parseShardIndex } from "../../runtime/formats/palettized-index";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { type PlannedTensor, planShards, ShardWriter } from "../../runtime/palettize/shards";
import { makeRandom } from "./random";

const tensor = (name: string, bytes: number): PlannedTensor => ({ name, dtype: "U8", shape: [bytes], bytes });
const LIMIT = 4096;

describe("shards", () => {
  it("keeps the order, never passes the limit, and fills shards as far as it can", async () => {
    const random = makeRandom(1);
    const tensors = Array.from({ length: 200 }, (_, i) => tensor(`layers.${i}.plane0`, 1 + random.below(3000)));
    const plan = planShards(tensors, LIMIT);
    expect(plan.flat()).toEqual(tensors);
    const files = new Map<string, Uint8Array>();
    const writer = new ShardWriter(plan, { write: async (name, bytes) => void files.set(name, bytes) });
    for (const { name, bytes } of tensors) await writer.put(name, new Uint8Array(bytes).fill(7));
    expect(Math.max(...[...files.values()].map((file) => file.length))).toBeLessThanOrEqual(LIMIT);
    for (let i = 1; i < plan.length; i++) {
      const used = plan[i - 1].reduce((sum, { bytes, name }) => sum + bytes + name.length + 128, 128);
      expect(used + plan[i][0].bytes + plan[i][0].name.length + 128).toBeGreaterThan(LIMIT);
    }
  });

  it("refuses a tensor that no shard can hold", () => {
    expect(() => planShards([tensor("a", 10), tensor("large", LIMIT)], LIMIT)).toThrow(
      /must fit a shard of 4096 bytes but large/,
    );
  });

  it("takes tensors in any order; index, sizes and hashes are those of the files", async () => {
    const plan = planShards([tensor("a", 2000), tensor("b", 1500), tensor("c", 3000), tensor("d", 1)], LIMIT);
    expect(plan.map((shard) => shard.map(({ name }) => name))).toEqual([
      ["a", "b"],
      ["c", "d"],
    ]);
    const files = new Map<string, Uint8Array>();
    const writer = new ShardWriter(plan, { write: async (name, bytes) => void files.set(name, bytes) });
    await writer.put("d", Uint8Array.of(4));
    await writer.put("a", new Uint8Array(2000).fill(1));
    await writer.put("c", new Uint8Array(3000).fill(3));
    expect([...files.keys()]).toEqual(["model-00002-of-00002.safetensors"]);
    expect(() => writer.index()).toThrow(/model-00001-of-00002.safetensors must be whole/);
    await writer.put("b", new Uint8Array(1500).fill(2));

    const index = parseShardIndex(writer.index());
    expect(index.metadata.total_size).toBe(6501);
    expect(Object.keys(index.weight_map)).toEqual(["a", "b", "c", "d"]);
    for (const { name, bytes, sha256 } of index.shards) {
      expect(files.get(name)!.length).toBe(bytes);
      expect(createHash("sha256").update(files.get(name)!).digest("hex")).toBe(sha256);
    }
    const sources = index.shards.map(({ name }) => bytesSource(name, files.get(name)!));
    const model = await openSafetensors("model", sources, { config: {} });
    for (const [i, name] of ["a", "b", "c", "d"].entries()) expect((await model.readBytes(name))[0]).toBe(i + 1);
  });

  it("a tensor outside the plan is a defect", async () => {
    const writer = new ShardWriter([[tensor("a", 1)]], { write: async () => {} });
    await expect(writer.put("b", Uint8Array.of(1))).rejects.toMatchObject({ code: "INTERNAL" });
  });
});
