// One palettized linear W [rows, cols]: weight = palette[block(row)][code(row, col)] * row_scale[row], a block being 16 rows.
//
// Four rows' words stand side by side, so that every load is 16 bytes, and consecutive threads load consecutive bytes:
// [rows/4, words of 32 columns, cols/32, 4 rows]. plane0 has 2 words, plane1 (rows of blocks >= 3 bits) and plane2 (rows of
// 4-bit blocks) 1 word.
// Blocks of 2 and 3 bits are kept in planes, as the file has them:
//   plane0: the codes' upper 2 bits, 16 columns to a word, column i at bits 2i.
//   plane1 (and plane2, in the file): the next bits. Nibble i of a word: columns 2i and 2i + 1 of the first plane0 word
//   (bits 0 and 1) and of the second (bits 2 and 3).
// Blocks of 4 bits are repacked where they lie, by pack-pairs: a byte is the codes of two adjacent columns, the even one low.
//   plane0: of the first 16 columns the word `even`, then the word `odd` of CodePairs; plane1 and plane2: of the other 16.
// blocks u32 [rows/16, 20]: bits, first plane1 row, first plane2 row, 0; 16 f16 entries, two a word; 16 f16 row scales.
//   Palettes of 2 and 3 bits are spread over the 16 entries (entry c holds palette[c >> (4 - bits)]), so that every
//   width is the same look-up and a missing plane reads as zero.
//   Behind the records: kept columns, where there are some (lib/kept-columns).
// cols are padded to a multiple of 64.
@group(0) @binding(0) var<storage, read> plane0: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> plane1: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> plane2: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> blocks: array<u32>;
// #import lib/code-pairs

const BLOCK_WORDS = 20u;

// Palette entries 2 * pair and 2 * pair + 1 of a block.
fn palette_pair(block: u32, pair: u32) -> vec2<f32> {
  return unpack2x16float(blocks[block * BLOCK_WORDS + 4u + pair]);
}

// f16 bits of a block's palette entry.
fn entry_bits(block: u32, code: u32) -> u32 {
  return (blocks[block * BLOCK_WORDS + 4u + code / 2u] >> (code % 2u * 16u)) & 0xffffu;
}

// Row scales of four rows from `row` (a multiple of 4) on.
fn row_scales(row: u32) -> vec4<f32> {
  let word = (row / 16u) * BLOCK_WORDS + 12u + (row % 16u) / 2u;
  return vec4(unpack2x16float(blocks[word]), unpack2x16float(blocks[word + 1u]));
}
