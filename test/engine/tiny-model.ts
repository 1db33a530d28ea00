/** Tiny checkpoints, palettized in memory: the whole engine in seconds, even on a software adapter. */
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { type ModelConfig, parseConfig } from "../../runtime/engine/config";
import { bytesSource } from "../../runtime/formats/byte-source";
import type { Checkpoint, CheckpointFiles } from "../../runtime/formats/checkpoint";
import { parseShardIndex } from "../../runtime/formats/palettized-index";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { palettize } from "../../runtime/palettize/compile";

export interface TinyModel {
  config: ModelConfig;
  checkpoint: Checkpoint;
}

/** A palettized copy of `test/golden/tiny/NAME`. */
export async function tinyModel(name: string): Promise<TinyModel> {
  const plain = await openCheckpoint(fileURLToPath(new URL(`../golden/tiny/${name}`, import.meta.url)));
  const written = new Map<string, Uint8Array>();
  await palettize(plain.checkpoint, plain.config, {
    sink: { write: async (file, bytes) => void written.set(file, bytes.slice()) },
  });
  await plain.close();
  const json = (file: string) => JSON.parse(new TextDecoder().decode(written.get(file)));
  const files: CheckpointFiles = { config: json("config.json") };
  const { shards } = parseShardIndex(json("model.safetensors.index.json"));
  const sources = shards.map((shard) => bytesSource(shard.name, written.get(shard.name)!));
  return { config: parseConfig(files), checkpoint: await openSafetensors(name, sources, files) };
}
