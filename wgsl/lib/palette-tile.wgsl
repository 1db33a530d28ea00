// Palettized weights for lib/matmul: codes are decoded once, while they are staged. The kernel calls stage_palettes() before
// multiply_tile(), applies the row scales after it, and says by tile_row(first_row, at) which row of W a tile's row `at` is.
// #import lib/palette-weights
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

fn entries_of(table: u32, code: vec4<u32>) -> element4 {
  return to_element4(vec4(palette[table + code.x], palette[table + code.y], palette[table + code.z], palette[table + code.w]));
}

// Thread = (row quad, column group): decodes 4 rows x K_STEP/4 columns.
fn stage_weights(first_row: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let columns = K_STEP / 4u;
  let column = thread / 16u * columns;
  let row = tile_row(first_row, quad * 4u);
  let steps = shape.cols / 32u;
  let step = (k + column) / 32u;
  let second = (k + column) / 16u % 2u;
  let record = row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let slot = row % 16u / 4u;
  let top = plane0[(row / 4u * 2u + second) * steps + step] >> vec4((k + column) % 16u * 2u);
  let shift = vec4((k + column) % 16u * 2u + second * 2u);
  var middle = vec4(0u);
  var low = vec4(0u);
  if (bits >= 3u) {
    middle = plane1[(blocks[record + 1u] / 4u + slot) * steps + step] >> shift;
  }
  if (bits >= 4u) {
    low = plane2[(blocks[record + 2u] / 4u + slot) * steps + step] >> shift;
  }
  let table = quad / 4u * 16u;
  for (var c = 0u; c < columns; c++) {
    // Of two adjacent columns plane0 has 4 bits, the others have 2 of every 4.
    let pair = vec4(c / 2u * 4u);
    let code = (((top >> vec4(c * 2u)) & vec4(3u)) << vec4(2u))
      | (((middle >> (pair + vec4(c % 2u))) & vec4(1u)) << vec4(1u))
      | ((low >> (pair + vec4(c % 2u))) & vec4(1u));
    w_tile[(column + c) * 16u + quad] = entries_of(table, code);
  }
}
