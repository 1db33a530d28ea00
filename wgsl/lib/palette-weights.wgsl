// One palettized linear W [rows, cols]: weight = palette[block(row)][code(row, col)] * row_scale[row], a block being 16 rows.
//
// plane0 u32 [rows, cols/16]: the codes' upper 2 bits, 16 to a word, column i of the word at bits 2i.
// plane1 u32 [rows of blocks >= 3 bits, cols/32], plane2 u32 [rows of 4-bit blocks, cols/32]: the next bits, 32 columns a
//   word, permuted so that nibbles align: (p >> j) & 0x11111111 belongs to the even columns of the first plane0 word (j = 0),
//   its odd columns (1), the even (2) and odd (3) columns of the second.
// blocks u32 [rows/16, 20]: bits, first plane1 row, first plane2 row, 0; 16 f16 entries, two a word; 16 f16 row scales.
//   Palettes of 2 and 3 bits are spread over the 16 entries (entry c holds palette[c >> (4 - bits)]), so that every
//   width is the same look-up and a missing plane reads as zero.
// cols are padded to a multiple of 64.
@group(0) @binding(0) var<storage, read> plane0: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> plane1: array<u32>;
@group(0) @binding(2) var<storage, read> plane2: array<u32>;
@group(0) @binding(3) var<storage, read> blocks: array<u32>;

const BLOCK_WORDS = 20u;

// The codes of 16 columns as nibbles: x holds the even columns, y the odd ones, column 2i (2i + 1) at bits 4i.
fn codes_of_word(word: u32, bit1: u32, bit0: u32) -> vec2<u32> {
  let top = vec2(word, word >> 2u) & vec2(0x33333333u);
  let middle = vec2(bit1, bit1 >> 1u) & vec2(0x11111111u);
  let low = vec2(bit0, bit0 >> 1u) & vec2(0x11111111u);
  return (top << vec2(2u)) | (middle << vec2(1u)) | low;
}

// The codes of 32 columns from `step * 32` on: the first plane0 word in xy, the second in zw.
fn codes_of_step(row: u32, step: u32, cols: u32) -> vec4<u32> {
  let steps = cols / 32u;
  let block = (row / 16u) * BLOCK_WORDS;
  let bits = blocks[block];
  let words = plane0[row * steps + step];
  var bit1 = 0u;
  var bit0 = 0u;
  if (bits >= 3u) {
    bit1 = plane1[(blocks[block + 1u] + row % 16u) * steps + step];
  }
  if (bits >= 4u) {
    bit0 = plane2[(blocks[block + 2u] + row % 16u) * steps + step];
  }
  return vec4(codes_of_word(words.x, bit1, bit0), codes_of_word(words.y, bit1 >> 2u, bit0 >> 2u));
}

// Palette entries 2 * pair and 2 * pair + 1 of a block.
fn palette_pair(block: u32, pair: u32) -> vec2<f32> {
  return unpack2x16float(blocks[block * BLOCK_WORDS + 4u + pair]);
}

// Row scales of four rows from `row` (a multiple of 4) on.
fn row_scales(row: u32) -> vec4<f32> {
  let word = (row / 16u) * BLOCK_WORDS + 12u + (row % 16u) / 2u;
  return vec4(unpack2x16float(blocks[word]), unpack2x16float(blocks[word + 1u]));
}
