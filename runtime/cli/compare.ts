/**
 * `ochre inspect --compare A B`: how two palettized models of one source differ, code for code: what a GPU and the CPU make of the
 * same weights. Errors that are passed on make one code that lies on the border between two entries into many: after it the rest of
 * its row may differ, so rows count, and codes tell how far it went.
 */
import { OchreError } from "../errors";
import { linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { view } from "../formats/dequantize";
import { LINEARS, linearTensor, PALETTE_ROWS } from "../formats/palettized";
import { unpackCodes } from "../formats/palettized-linear";
import { openCheckpoint } from "./open-checkpoint";

export interface Comparison {
  /** Tensors of the linears, row scales and kept columns included, and of everything else, with other bytes. */
  differing: string[];
  blocks: { all: number; otherWidth: number; otherPalette: number };
  /** Of blocks with the same width. */
  rows: { all: number; differing: number };
  codes: { all: number; differing: number /** Of those: by more than the neighbouring entry. */; far: number };
}

/** @throws OchreError INVALID_ARGUMENT where they are not palettized models of one shape; what openCheckpoint throws. */
export async function compareModels(first: string, second: string): Promise<Comparison> {
  const a = await openCheckpoint(first);
  try {
    const b = await openCheckpoint(second);
    try {
      const shape = ({ L, D, F, V, H, G, quantization }: typeof a.config) =>
        [L, D, F, V, H, G, quantization !== undefined].join();
      if (!a.config.quantization || shape(a.config) !== shape(b.config))
        throw new OchreError("INVALID_ARGUMENT", `[inspect] ${first} and ${second} must be palettized models of one shape.`);
      return await compare(a.checkpoint, b.checkpoint, a.config);
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}

async function compare(a: Checkpoint, b: Checkpoint, config: Parameters<typeof linearShape>[0] & { L: number }) {
  const result: Comparison = {
    differing: [],
    blocks: { all: 0, otherWidth: 0, otherPalette: 0 },
    rows: { all: 0, differing: 0 },
    codes: { all: 0, differing: 0, far: 0 },
  };
  for (const name of new Set([...a.tensors.keys(), ...b.tensors.keys()])) {
    const both = a.tensors.has(name) && b.tensors.has(name);
    if (!both || !equal(await a.readBytes(name), await b.readBytes(name))) result.differing.push(name);
  }
  for (let layer = 0; layer < config.L; layer++) {
    for (const linear of LINEARS) {
      const name = linearTensor(layer, linear);
      const [rows, cols] = linearShape(config, linear);
      compareLinear(result, await readLinear(a, name, rows, cols), await readLinear(b, name, rows, cols), rows, cols);
    }
  }
  return result;
}

interface Linear {
  bits: Uint8Array;
  codes: Uint8Array;
  /** f16 of each block. */
  palettes: Uint16Array[];
}

async function readLinear(checkpoint: Checkpoint, name: string, rows: number, cols: number): Promise<Linear> {
  const read = async (part: string) => {
    const tensor = `${name}.${part}`;
    return checkpoint.tensors.has(tensor) ? checkpoint.readBytes(tensor) : undefined;
  };
  const words = async (part: string) => {
    const bytes = await read(part);
    return bytes && view(bytes, Uint32Array);
  };
  const bits = await checkpoint.readBytes(`${name}.bits`);
  const planes = { bits, plane0: (await words("plane0"))!, plane1: await words("plane1"), plane2: await words("plane2") };
  const palettes: Uint16Array[] = [];
  for (const width of [2, 3, 4]) {
    const bytes = await read(`palette${width}`);
    if (!bytes) continue;
    const entries = view(bytes, Uint16Array);
    // An elastic model's shorter palettes cover wider blocks too: a block's own comes last.
    const owners = [...bits.keys()].filter((block) =>
      entries.length >> width > bits.filter((own) => own === width).length ? bits[block] >= width : bits[block] === width,
    );
    owners.forEach((block, i) => {
      palettes[block] = entries.subarray(i << width, (i + 1) << width);
    });
  }
  return { bits, codes: unpackCodes(planes, rows, cols), palettes };
}

function compareLinear({ blocks, rows, codes }: Comparison, a: Linear, b: Linear, rowCount: number, cols: number): void {
  for (let block = 0; block < a.bits.length; block++) {
    blocks.all++;
    if (a.bits[block] !== b.bits[block]) {
      blocks.otherWidth++;
      continue;
    }
    if (!equal(a.palettes[block], b.palettes[block])) blocks.otherPalette++;
    for (let r = block * PALETTE_ROWS; r < Math.min(rowCount, (block + 1) * PALETTE_ROWS); r++) {
      let differing = 0;
      for (let i = r * cols; i < (r + 1) * cols; i++) {
        if (a.codes[i] === b.codes[i]) continue;
        differing++;
        if (Math.abs(a.codes[i] - b.codes[i]) > 1) codes.far++;
      }
      rows.all++;
      codes.all += cols;
      codes.differing += differing;
      if (differing > 0) rows.differing++;
    }
  }
}

const equal = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

/** For a person to read. */
export function describeComparison({ differing, blocks, rows, codes }: Comparison): string {
  if (differing.length === 0) return `the same: ${codes.all} codes, ${blocks.all} palettes and all other tensors`;
  return [
    `${blocks.otherWidth} of ${blocks.all} blocks have another width, ${blocks.otherPalette} another palette`,
    `${codes.differing} of ${codes.all} codes differ (${codes.far} by more than one entry), in ${rows.differing} of ${rows.all} rows`,
    `${differing.length} tensors differ: ${differing.slice(0, 5).join(", ")}${differing.length > 5 ? " …" : ""}`,
  ].join("\n");
}
