// y[t, r] = scale[t] * sum_c W[r, c] * x[t, c]  (+ y[t, r] before)
//
// W f32 [rows, cols], x f32 [T, stride], scale f32 [T] (inverse RMS of each token, where shape.scaled), y f32 [T, y_stride].
// Workgroups (rows / 64, tokens / 64). Tiling: lib/matmul.
// #import lib/step-state
// #import lib/matmul
@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> shape: MatmulShape;

// Thread = (row quad, column group): transposes 4 rows x K_STEP/4 columns; rows past the end repeat the last quad and are never
// written.
fn stage_weights(first_row: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let columns = K_STEP / 4u;
  let column = thread / 16u * columns;
  let row = min(first_row + quad * 4u, shape.rows - 4u);
  for (var c = 0u; c < columns; c += 4u) {
    let at = (row * shape.cols + k + column + c) / 4u;
    let next = shape.cols / 4u;
    let by_column = transpose(mat4x4<f32>(
      weights[at], weights[at + next], weights[at + 2u * next], weights[at + 3u * next],
    ));
    for (var i = 0u; i < 4u; i++) {
      w_tile[(column + c + i) * 16u + quad] = to_element4(by_column[i]);
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first_row = workgroup.x * TILE;
  let first_token = workgroup.y * TILE;
  if (first_token >= state.count) {
    return;
  }
  var sums = multiply_tile(first_row, first_token, thread);
  let row = first_row + thread % 8u * 4u;
  for (var i = 0u; i < 8u; i++) {
    let token = first_token + thread / 8u * 8u + i;
    store(token, row, sums.low[i]);
    store(token, row + 32u, sums.high[i]);
  }
}
