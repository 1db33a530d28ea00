// y[t, r] = scale[t] * row_scale[r] * sum_c palette[block(r)][code(r, c)] * x[t, c]  (+ kept columns, + y[t, r] before)
//
// x f32 [T, stride], scale f32 [T] (inverse RMS of each token, where shape.scaled), y f32 [T, y_stride].
// Workgroups (rows / 64, tokens / 64). Packing: lib/palette-weights. Tiling: lib/matmul.
// #import lib/step-state
// #import lib/palette-tile
// #import lib/matmul
// #import lib/kept-columns
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
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
  return x[(t * shape.stride + column) / 4u][column % 4u];
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
  let row = first_row + thread % 8u * 4u;
  let low_scales = row_scales(row);
  let high_scales = row_scales(row + 32u);
  for (var i = 0u; i < 8u; i++) {
    let token = first_token + thread / 8u * 8u + i;
    store(token, row, sums.low[i] * low_scales + kept_columns(shape.kept, token, row));
    store(token, row + 32u, sums.high[i] * high_scales + kept_columns(shape.kept, token, row + 32u));
  }
}
