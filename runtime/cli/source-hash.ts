import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import path from "node:path";
import type { OpenCheckpoint } from "./open-checkpoint";
import { sha256File } from "./sha256-file";

/**
 * What a plan names its source by: the SHA-256 of its one weight file, or for several that of the list that sha256sum would
 * print, in load order.
 */
export async function sourceHash(location: string, shards: OpenCheckpoint["shards"]): Promise<string> {
  const folder = (await stat(location)).isDirectory() ? location : path.dirname(location);
  const hashes: string[] = [];
  for (const { name } of shards) hashes.push(await sha256File(path.join(folder, name)));
  if (hashes.length === 1) return hashes[0];
  const list = hashes.map((hash, i) => `${hash}  ${shards[i].name}\n`).join("");
  return createHash("sha256").update(list).digest("hex");
}
