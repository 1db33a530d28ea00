// Palettized weights for lib/matmul: codes are decoded once, while they are staged. The kernel calls stage_palettes() before
// multiply_tile(), applies the row scales after it, and says by tile_row(first_row, at) which row of W a tile's row `at` is.
// #import lib/palette-pairs
var<workgroup> palette: array<f32, TILE>; // four blocks of 16 entries

// Seen by stage_weights() after multiply_tile()'s first barrier.
fn stage_palettes(first_row: u32, thread: u32) {
  if (thread < TILE / 2u) {
    let block = tile_row(first_row, thread / 8u * 16u) / 16u;
    let entries = palette_pair(block, thread % 8u);
    palette[thread * 2u] = entries.x;
    palette[thread * 2u + 1u] = entries.y;
  }
}

// The entries of the codes in the lowest nibbles.
fn entries_of(table: vec4<u32>, codes: vec4<u32>) -> element4 {
  let at = table + (codes & vec4(15u));
  return to_element4(vec4(palette[at.x], palette[at.y], palette[at.z], palette[at.w]));
}

// Thread = (row quad, column group): decodes 4 rows x K_STEP/4 columns.
fn stage_weights(first_row: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let columns = K_STEP / 4u;
  let column = thread / 16u * columns;
  let row = tile_row(first_row, quad * 4u);
  let step = (k + column) / 32u;
  let second = (k + column) / 16u % 2u;
  let codes = pairs_at(row, step, second);
  let table = vec4(quad / 4u * 16u);
  for (var c = 0u; c < columns; c += 4u) {
    // Byte of 4 columns.
    let even = codes.even >> vec4((k + column + c) % 16u * 2u);
    let odd = codes.odd >> vec4((k + column + c) % 16u * 2u);
    let at = (column + c) * 16u + quad;
    w_tile[at] = entries_of(table, even);
    w_tile[at + 16u] = entries_of(table, even >> vec4(4u));
    w_tile[at + 32u] = entries_of(table, odd);
    w_tile[at + 48u] = entries_of(table, odd >> vec4(4u));
  }
}
