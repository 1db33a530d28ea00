/** Random int8 vocabulary tables and rotations, as the twins read them and as the GPU holds them. */
import type { RotationBuffer, VocabularyTable } from "../../kernels/embed-rotate";
import { f16ToF32, f32ToF16 } from "../../runtime/formats/f16";
import { makeRotation, type Rotation } from "../../runtime/formats/rotation";
import type { Gpu } from "../../runtime/gpu/device";
import { random } from "./harness";

export function vocabulary(gpu: Gpu, V: number, D: number) {
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
    table: gpu.upload("table", paddedTable),
    rowScale: gpu.upload("row_scale", paddedScale),
    V,
    D,
    bytes: paddedTable.byteLength + paddedScale.byteLength,
  };
  return { table, rowScale, buffers };
}

/** `dct` 0: unrotated. */
export function rotationBuffer(gpu: Gpu, D: number, dct: number): { rotation?: Rotation; buffer: RotationBuffer } {
  if (dct === 0) return { buffer: { buffer: gpu.buffer("rotation", 16), dct: 0, hadamard: 1 } };
  const rotation = makeRotation({ size: D, dct, hadamard: D / dct, seed: 5 });
  const data = new Float32Array(dct * dct + D);
  data.set(rotation.cosines);
  data.set(rotation.signs, dct * dct);
  return { rotation, buffer: { buffer: gpu.upload("rotation", data), dct, hadamard: D / dct } };
}
