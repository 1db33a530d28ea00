/** Training on its way, as safetensors: what it takes to go on with the same next step. */
import type { ByteSource } from "../formats/checkpoint";
import { formatError } from "../formats/json";
import { encodeSafetensors, openSafetensors, readSafetensorsHeader } from "../formats/safetensors";
import type { Training } from "./distill";

/** @param about Whatever must be the same for the training to go on; a reader compares it. */
export function encodeTraining({ parameters, adam, seconds }: Training, about: string): Uint8Array<ArrayBuffer> {
  const tensors = Object.entries({ parameters, mean: adam.mean, square: adam.square });
  return encodeSafetensors(
    tensors.map(([name, { buffer, byteOffset, byteLength, length }]) => ({
      name,
      dtype: "F32",
      shape: [length],
      bytes: new Uint8Array(buffer, byteOffset, byteLength),
    })),
    { about, step: `${adam.step}`, seconds: `${seconds}` },
  );
}

/** @throws OchreError MODEL_FORMAT where the file is not whole, or no training. */
export async function readTraining(source: ByteSource): Promise<{ training: Training; about: string }> {
  const { metadata } = await readSafetensorsHeader(source);
  const [about, step, seconds] = ["about", "step", "seconds"].map((key) => metadata.get(key));
  if (about === undefined || !(Number(step) >= 0) || !(Number(seconds) >= 0))
    throw formatError(source.name, "must say what was trained, how many steps and how long, but does not. Delete it.");
  const file = await openSafetensors(source.name, [source], { config: {} });
  const adam = { mean: await file.read("mean"), square: await file.read("square"), step: Number(step) };
  return { training: { parameters: await file.read("parameters"), adam, seconds: Number(seconds) }, about };
}
