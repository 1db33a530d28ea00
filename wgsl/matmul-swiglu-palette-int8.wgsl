// y[t, r] = silu(gate[t, r]) * up[t, r], gate = scale[t] * Wg x[t], up = scale[t] * Wu x[t], palettes in int8
//
// x int8 rows (lib/int8-row) [T, cols], scale f32 [T] (inverse RMS), y f32 [T, y_stride]. Wg and Wu are stacked [2 rows, cols],
// gate first; a tile holds 32 rows of each, so that a thread's low quad is the gate of its high quad.
// #import lib/step-state
// #import lib/palette-tile8
// #import lib/matmul-tile8
// #import lib/silu
@group(0) @binding(4) var<storage, read> x8: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> state: StepState;
@group(0) @binding(6) var<storage, read> scale: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> shape: MatmulShape;

fn tile_row(first_row: u32, at: u32) -> u32 {
  return select(0u, shape.rows, at >= 32u) + min(first_row + at % 32u, shape.rows - 16u + at % 16u);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first_row = workgroup.x * 32u;
  let first_token = workgroup.y * TILE;
  if (first_token >= state.count) {
    return;
  }
  stage_palettes(first_row, thread);
  var sums = multiply_tile(first_row, first_token, thread);
  let at = thread % 8u * 4u;
  let row = first_row + at;
  if (row >= shape.rows) {
    return;
  }
  let gate_steps = row_steps(at, row);
  let up_steps = row_steps(at + 32u, shape.rows + row);
  for (var i = 0u; i < 8u; i++) {
    let token = first_token + thread / 8u * 8u + i;
    if (token < state.count) {
      let gate = sums.low[i] * gate_steps * scale[token];
      y[(token * shape.y_stride + row) / 4u] = silu(gate) * (sums.high[i] * up_steps * scale[token]);
    }
  }
}
