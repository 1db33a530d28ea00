// One palettized linear W [rows, cols]: weight = palette[block(row)][code(row, col)] * row_scale[row], a block being 16 rows.
//
// Codes are kept in planes, of which a block has as many as its width asks for. Four rows' words stand side by side, so that
// every load is 16 bytes, and consecutive threads load consecutive bytes: [rows/4, words of 32 columns, cols/32, 4 rows].
// plane0 u32, 2 words: the codes' upper 2 bits, 16 columns to a word, column i at bits 2i.
// plane1 u32 (rows of blocks >= 3 bits), plane2 u32 (rows of 4-bit blocks), 1 word: the next bits. Nibble i of a word:
//   columns 2i and 2i + 1 of the first plane0 word (bits 0 and 1) and of the second (bits 2 and 3).
// blocks u32 [rows/16, 20]: bits, first plane1 row, first plane2 row, 0; 16 f16 entries, two a word; 16 f16 row scales.
//   Palettes of 2 and 3 bits are spread over the 16 entries (entry c holds palette[c >> (4 - bits)]), so that every
//   width is the same look-up and a missing plane reads as zero.
// cols are padded to a multiple of 64.
@group(0) @binding(0) var<storage, read> plane0: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> plane1: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> plane2: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> blocks: array<u32>;

const BLOCK_WORDS = 20u;

// Pairs of codes of 4 rows x 16 columns, a byte each: byte i of `even` holds columns 4i and 4i + 1, of `odd` 4i + 2 and 4i + 3.
// Bits of a byte: 0-1 and 2-3 the two columns' bits of plane0, 4 and 5 of plane1, 6 and 7 of plane2.
struct CodePairs {
  even: vec4<u32>,
  odd: vec4<u32>,
}

// `below`: bits 0-3 of nibble i are what plane1 and plane2 say of columns 2i and 2i + 1.
fn code_pairs(words: vec4<u32>, below: vec4<u32>) -> CodePairs {
  return CodePairs(merge(0x0f0f0f0fu, words, below << vec4(4u)), merge(0x0f0f0f0fu, words >> vec4(4u), below));
}

// Bits of `a` where the mask is set, else of `b`: one instruction on AMD, in this form only.
fn merge(mask: u32, a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  return (a & vec4(mask)) | (b & vec4(~mask));
}

// plane1 and plane2 of 32 columns, as code_pairs() takes them: for the first 16 columns and for the others.
fn below_first(bit1: vec4<u32>, bit0: vec4<u32>) -> vec4<u32> {
  return merge(0x33333333u, bit1, bit0 << vec4(2u));
}
fn below_second(bit1: vec4<u32>, bit0: vec4<u32>) -> vec4<u32> {
  return merge(0x33333333u, bit1 >> vec4(2u), bit0);
}

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
