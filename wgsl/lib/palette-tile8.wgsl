// Palettized weights in int8 for lib/matmul-tile8: palettes are rounded, and codes decoded while they are staged. The kernel
// calls stage_palettes() before multiply_tile(), applies row_steps() after it, and says by tile_row(first_row, at) which row
// of W a tile's row `at` is.
// #import lib/palette-pairs
// #import lib/int8-palette
var<workgroup> pairs8: array<u32, 1024>; // four blocks of 256 pairs: two int8 entries in the lower half
var<workgroup> block_steps: array<f32, 4>; // what 1 stands for in a block

// Thread = (block, lower code): makes the 16 pairs with that. Seen by stage_weights() after multiply_tile()'s first barrier.
fn stage_palettes(first_row: u32, thread: u32) {
  let block = tile_row(first_row, thread / 16u * 16u) / 16u;
  let largest = largest_entry(block);
  let low = int8_entry(block, thread % 16u, largest);
  for (var code = 0u; code < 16u; code++) {
    pairs8[thread / 16u * 256u + code * 16u + thread % 16u] = low | (int8_entry(block, code, largest) << 8u);
  }
  if (thread % 16u == 0u) {
    block_steps[thread / 16u] = largest / 127.0;
  }
}

// What 1 stands for in four rows from tile row `at` (a multiple of 4) on, which is row `row` of W.
fn row_steps(at: u32, row: u32) -> vec4<f32> {
  return block_steps[at / 16u] * row_scales(row);
}

// Byte `i` of both words: 4 columns of a row.
fn int8_word(table: u32, even: u32, odd: u32, i: u32) -> u32 {
  let shift = 24u - i * 8u;
  return pairs8[table + ((even << shift) >> 24u)] | (pairs8[table + ((odd << shift) >> 24u)] << 16u);
}

// Thread = (row quad, 16 columns).
fn stage_weights(first_row: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let block = thread / 16u;
  let codes = pairs_at(tile_row(first_row, quad * 4u), (k + block * 16u) / 32u, block % 2u);
  let table = quad / 4u * 256u;
  for (var i = 0u; i < 4u; i++) {
    w_tile[(block * 4u + i) * 16u + quad] = vec4(
      int8_word(table, codes.even.x, codes.odd.x, i), int8_word(table, codes.even.y, codes.odd.y, i),
      int8_word(table, codes.even.z, codes.odd.z, i), int8_word(table, codes.even.w, codes.odd.w, i),
    );
  }
}
