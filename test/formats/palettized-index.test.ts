import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OchreError } from "../../runtime/errors";
import { parseShardIndex } from "../../runtime/formats/palettized-index";

const shard = { name: "model-00001-of-00001.safetensors", bytes: 1024, sha256: "0f".repeat(32) };
const index = { metadata: { total_size: 1000 }, weight_map: { "model.norm.weight": shard.name }, shards: [shard] };

test("an index comes back as it was written, and nothing else with it", () => {
  expect(parseShardIndex({ ...index, extra: 1, shards: [{ ...shard, url: "elsewhere" }] })).toEqual(index);
});

test("a tensor called __proto__ is only a tensor", () => {
  const json = JSON.parse(JSON.stringify(index).replace("model.norm.weight", "__proto__"));
  expect(Object.entries(parseShardIndex(json).weight_map)).toEqual([["__proto__", shard.name]]);
});

describe("refusals", () => {
  const withShard = (changes: object) => ({ ...index, shards: [{ ...shard, ...changes }] });
  test.each([
    "../model.safetensors",
    "..",
    "a/b.safetensors",
    "a\\b.safetensors",
    "https://x.safetensors",
    "//x.safetensors",
    "%2e%2e%2fx.safetensors",
    ".hidden.safetensors",
    "x.safetensors?y",
    "config.json",
    "",
    7,
  ])("the shard name %j", (name) => {
    expect(() => parseShardIndex(withShard({ name }))).toThrow(expect.objectContaining({ code: "MODEL_FORMAT" }));
  });

  test.each<[unknown, string]>([
    [null, "must hold weight_map and shards"],
    [{ ...index, shards: {} }, "must hold weight_map and shards"],
    [{ ...index, shards: [3] }, "each of shards must be an object"],
    [{ ...index, shards: [shard, shard] }, "must list each file once"],
    [{ ...index, metadata: {} }, "total_size"],
    [{ ...index, weight_map: { w: "model-00002-of-00002.safetensors" } }, '"w" in a file that shards does not list'],
    [{ ...index, weight_map: { w: 1 } }, '"w" in a file that shards does not list'],
    [withShard({ bytes: 0 }), "bytes must be a whole number from 1 to 2147483648 but is 0"],
    [withShard({ bytes: 2 ** 31 + 1 }), "bytes must be a whole number"],
    [withShard({ bytes: "1024" }), 'but is "1024"'],
    [withShard({ sha256: "0F".repeat(32) }), "sha256 must be a string like"],
    [withShard({ sha256: undefined }), "sha256 must be a string like"],
  ])("%j", (json, message) => {
    expect(() => parseShardIndex(json)).toThrow(
      expect.objectContaining({ code: "MODEL_FORMAT", message: expect.stringContaining(message) }),
    );
  });

  test("any JSON gives an index or an OchreError, never more", () => {
    const part = fc.constantFrom<keyof typeof index>("metadata", "weight_map", "shards");
    fc.assert(
      fc.property(part, fc.jsonValue(), (key, value) => {
        for (const json of [value, { ...index, [key]: value }, withShard({ name: value }), withShard({ bytes: value })]) {
          try {
            parseShardIndex(json);
          } catch (error) {
            if (!(error instanceof OchreError)) throw error;
          }
        }
      }),
    );
  });
});
