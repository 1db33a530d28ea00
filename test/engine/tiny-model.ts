/** Tiny checkpoints, palettized in memory: the whole engine in seconds, even on a software adapter. */
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { type ModelConfig, parseConfig } from "../../runtime/engine/config";
import { bytesSource } from "../../runtime/formats/byte-source";
import type { Checkpoint, CheckpointFiles } from "../../runtime/formats/checkpoint";
import { parseShardIndex } from "../../runtime/formats/palettized-index";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { type PalettizeOptions, palettize } from "../../runtime/palettize/compile";
import { modelLinears } from "../../runtime/palettize/plan";

export interface TinyModel {
  config: ModelConfig;
  checkpoint: Checkpoint;
}

/** A palettized copy of `test/golden/tiny/NAME`; `bits`: the widths of each linear's blocks, in turn. Default 4. */
export async function tinyModel(
  name: string,
  bits = [4],
  extras: Pick<PalettizeOptions, "kept" | "elastic"> = {},
): Promise<TinyModel> {
  const plain = await openCheckpoint(fileURLToPath(new URL(`../golden/tiny/${name}`, import.meta.url)));
  const written = new Map<string, Uint8Array>();
  const widths = modelLinears(plain.config).map(({ name, blocks }): [string, Uint8Array] => [
    name,
    Uint8Array.from({ length: blocks }, (_, block) => bits[block % bits.length]),
  ]);
  await palettize(plain.checkpoint, plain.config, {
    bits: new Map(widths),
    ...extras,
    sink: { write: async (file, bytes) => void written.set(file, bytes.slice()) },
  });
  await plain.close();
  const json = (file: string) => JSON.parse(new TextDecoder().decode(written.get(file)));
  const files: CheckpointFiles = { config: json("config.json") };
  const { shards } = parseShardIndex(json("model.safetensors.index.json"));
  const sources = shards.map((shard) => bytesSource(shard.name, written.get(shard.name)!));
  return { config: parseConfig(files), checkpoint: await openSafetensors(name, sources, files) };
}
