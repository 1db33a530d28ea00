/**
 * Twin of change-widths: a linear's planes as the GPU holds them, from the widths that `blocks` says to those of `next`.
 *
 *   narrower: the codes' last bits are gone; wider: they are in next1 and next2 already, as files have them
 */
import { type PackPairsArgs, packPairs, unpackPairs } from "./pack-pairs";

export interface ChangeWidthsArgs extends PackPairsArgs {
  /** [rows/16, 4]: bits, first row in next1, first row in next2, 0. */
  next: Uint32Array;
  /** [rows of blocks >= 3 bits / 4, cols/32, 4], changed. */
  next1: Uint32Array;
  /** [rows of 4-bit blocks / 4, cols/32, 4], changed. */
  next2: Uint32Array;
}

/** Changes plane0 in place. */
export function changeWidths({ next, next1, next2, ...now }: ChangeWidthsArgs): void {
  const { cols, plane0, blocks } = now;
  const plane1 = now.plane1.slice();
  const plane2 = now.plane2.slice();
  unpackPairs({ ...now, plane1, plane2 });
  const words = 16 * (cols / 32); // of a block
  const records = new Uint32Array(blocks.length);
  for (let block = 0; block < blocks.length / 20; block++) {
    const [bits, from1, from2] = blocks.subarray(20 * block);
    const [wanted, to1, to2] = next.subarray(4 * block);
    const copy = (least: number, to: Uint32Array, toRow: number, from: Uint32Array, fromRow: number) => {
      if (Math.min(bits, wanted) < least) return;
      to.set(from.subarray((fromRow * words) / 16, (fromRow * words) / 16 + words), (toRow * words) / 16);
    };
    copy(3, next1, to1, plane1, from1);
    copy(4, next2, to2, plane2, from2);
    records.set([wanted, to1, to2], 20 * block);
  }
  packPairs({ cols, plane0, plane1: next1, plane2: next2, blocks: records });
}
