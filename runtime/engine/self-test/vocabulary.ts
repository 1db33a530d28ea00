/** Random int8 vocabulary tables and rotations, as the twins read them and as the GPU holds them. */
import type { RotationBuffer, VocabularyTable } from "../../../kernels/embed-rotate";
import { f16ToF32, f32ToF16 } from "../../formats/f16";
import { makeRotation, type Rotation } from "../../formats/rotation";
import { type Allocator, random } from "./data";

export function vocabulary(on: Allocator, V: number, D: number) {
  const uniform = random(V + D);
  const padded = 4 * Math.ceil(V / 4);
  const table = Int8Array.from({ length: V * D }, () => Math.floor(uniform() * 255) - 127);
  table.set([-127, 127, -127, 127]);
  const rowScale = Uint16Array.from({ length: V }, () => f32ToF16(0.001 + 0.01 * uniform()));
  const paddedTable = new Int8Array(padded * D);
  paddedTable.set(table);
  const paddedScale = new Float32Array(padded);
  rowScale.forEach((half, i) => {
    paddedScale[i] = f16ToF32(half);
  });
  const buffers: VocabularyTable = {
    table: on.upload("table", paddedTable),
    rowScale: on.upload("row_scale", paddedScale),
    V,
    D,
    bytes: paddedTable.byteLength + paddedScale.byteLength,
  };
  return { table, rowScale, buffers };
}

/** `dct` 0: unrotated. */
export function rotationBuffer(on: Allocator, D: number, dct: number): { rotation?: Rotation; buffer: RotationBuffer } {
  if (dct === 0) return { buffer: { buffer: on.buffer("rotation", 16), dct: 0, hadamard: 1 } };
  const rotation = makeRotation({ size: D, dct, hadamard: D / dct, seed: 5 });
  const data = new Float32Array(dct * dct + D);
  data.set(rotation.cosines);
  data.set(rotation.signs, dct * dct);
  return { rotation, buffer: { buffer: on.upload("rotation", data), dct, hadamard: D / dct } };
}
