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

// Thread = (row quad, column group): decodes 4 rows x K_STEP/4 columns.
fn stage_weights(first_row: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let columns = K_STEP / 4u;
  let column = thread / 16u * columns;
  let row = tile_row(first_row, quad * 4u);
  let step = (k + column) / 32u;
  let second = (k + column) % 32u >= 16u;
  var codes: array<vec2<u32>, 4>;
  for (var i = 0u; i < 4u; i++) {
    let words = codes_of_step(row + i, step, shape.cols);
    codes[i] = select(words.xy, words.zw, second) >> vec2(((k + column) % 16u) * 2u);
  }
  let table = quad / 4u * 16u;
  for (var c = 0u; c < columns; c += 2u) {
    let shift = c * 2u;
    var even: vec4<f32>;
    var odd: vec4<f32>;
    for (var i = 0u; i < 4u; i++) {
      let code = (codes[i] >> vec2(shift)) & vec2(15u);
      even[i] = palette[table + code.x];
      odd[i] = palette[table + code.y];
    }
    w_tile[(column + c) * 16u + quad] = to_element4(even);
    w_tile[(column + c + 1u) * 16u + quad] = to_element4(odd);
  }
}
