// y[t, r] = scale[t] * row_scale[r] * sum_c q[block(r)][code(r, c)] * x[t, c]  (+ kept columns, + y[t, r] before),
// q the palette in int8
//
// x int8 rows (lib/int8-row) [T, cols], scale f32 [T] (inverse RMS of each token, where shape.scaled), y f32 [T, y_stride].
// Workgroups (rows / 64, tokens / 64). Packing: lib/palette-weights. Tiling: lib/matmul-tile8.
// #import lib/step-state
// #import lib/palette-tile8
// #import lib/matmul-tile8
// #import lib/kept-columns
@group(0) @binding(4) var<storage, read> x8: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> state: StepState;
@group(0) @binding(6) var<storage, read> scale: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> shape: MatmulShape;

// Row `at` of a tile that starts at `first_row`; rows past the end repeat the last block and are never written.
fn tile_row(first_row: u32, at: u32) -> u32 {
  return min(first_row + at, shape.rows - 16u + at % 16u);
}

fn kept_word(i: u32) -> u32 {
  return blocks[shape.rows / 16u * BLOCK_WORDS + i];
}

fn x_value(t: u32, column: u32) -> f32 {
  let start = t * (shape.cols / 16u + shape.cols / 64u);
  let codes = unpack4xI8(x8[start + column / 16u][column / 4u % 4u]);
  return f32(codes[column % 4u]) * bitcast<f32>(x8[start + shape.cols / 16u + column / 64u][column / 16u % 4u]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first_row = workgroup.x * TILE;
  let first_token = workgroup.y * TILE;
  if (first_token >= state.count) {
    return;
  }
  stage_palettes(first_row, thread);
  var sums = multiply_tile(first_row, first_token, thread);
  let at = thread % 8u * 4u;
  let low = row_steps(at, first_row + at);
  let high = row_steps(at + 32u, first_row + at + 32u);
  for (var i = 0u; i < 8u; i++) {
    let token = first_token + thread / 8u * 8u + i;
    let row = first_row + at;
    store(token, row, sums.low[i] * low + kept_columns(shape.kept, token, row));
    store(token, row + 32u, sums.high[i] * high + kept_columns(shape.kept, token, row + 32u));
  }
}
