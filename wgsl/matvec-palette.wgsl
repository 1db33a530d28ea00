// y[t, r] = row_scale[r] * inverse_rms(x[t]) * sum_c palette[block(r)][code(r, c)] * x[t, c]  (+ kept columns, + y[t, r] before)
//
// x f32 [TOKENS, X_STRIDE], y f32 [TOKENS, Y_STRIDE] (rows padded to 16). RMSNorm weights are folded into W, so the norm is one scalar that
// the epilogue applies (architecture.md 3, fused decode list 1, 4 and 6). Packing: lib/palette-weights. Work: lib/matvec.
// #import lib/step-state
// #import lib/palette-rows
// #import lib/matvec
// #import lib/lane-sum
// #import lib/kept-columns
override ROWS: u32;
override KEPT: u32; // columns, where no norm stands in front
override ADD: bool; // add to what y holds: the residual stream

@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> state: StepState;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

fn kept_word(i: u32) -> u32 {
  return blocks[ROWS / 16u * BLOCK_WORDS + i];
}

fn x_value(t: u32, column: u32) -> f32 {
  return x[(t * X_STRIDE + column) / 4u][column % 4u];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (state.done == 1u) {
    return;
  }
  let first_row = workgroup.x * SLOTS * 4u;
  let row = first_row + thread / LANES * 4u;
  stage_palettes(first_row, thread);
  if (EPS >= 0.0) {
    stage_square_sums(thread);
  }
  workgroupBarrier();
  var sums: TokenSums;
  if (row < ROWS) {
    dot_rows(&sums, row, first_row, thread % LANES);
  }
  for (var t = 0u; t < TOKENS; t++) {
    let sum = lane_sum(sums[t], thread);
    if (thread % LANES == 0u && row < ROWS && t < state.count) {
      var result = sum * row_scales(row);
      if (EPS >= 0.0) {
        result *= inverse_rms(t);
      }
      if (KEPT > 0u) {
        result += kept_columns(KEPT, t, row);
      }
      let at = (t * Y_STRIDE + row) / 4u;
      if (ADD) {
        result += y[at];
      }
      y[at] = result;
    }
  }
}
