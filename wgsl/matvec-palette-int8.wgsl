// y[t, r] = inverse_rms(x[t]) * scale[r] * sum_c code[r, c] x[t, c]  (+ kept columns, + y[t, r] before), and the same
// in int8 in row8
//
// code and scale are what W's palettes are in int8 (expand-int8), made here as they are read. x and row8 int8 rows
// (lib/int8-row) [TOKENS], y f32 [TOKENS, Y_STRIDE]. One workgroup a block of 16 rows. Work: lib/palette-rows8.
// #import lib/step-state
// #import lib/palette-rows8
// #import lib/int8-x
// #import lib/lane-sum
// #import lib/int8-row
// #import lib/kept-columns
override THREADS: u32; // LANES * 4
override KEPT: u32; // columns, where no norm stands in front
override KEPT_AT: u32; // their first word in blocks
override Y_STRIDE: u32;
override ADD: bool; // add to what y holds: the residual stream
override INT8: bool; // write row8 too

@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> state: StepState;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> row8: array<u32>;

fn kept_word(i: u32) -> u32 {
  return blocks[KEPT_AT + i];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (state.done == 1u) {
    return;
  }
  let slot = thread / LANES;
  let row = workgroup.x * 16u + slot * 4u;
  stage_palette(workgroup.x, thread);
  if (EPS >= 0.0) {
    for (var t = 0u; t < TOKENS; t++) {
      stage_square_sums(t, x_row(t), thread);
    }
  }
  workgroupBarrier();
  var sums: TokenSums;
  dot_rows(&sums, row, thread % LANES);
  for (var t = 0u; t < TOKENS; t++) {
    var result = lane_sum(sums[t], thread) * row_steps(row);
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
    sums[t] = result;
    if (thread % LANES == 0u) {
      share_magnitude(t * 4u + slot, result);
      if (t < state.count) {
        y[at] = result;
      }
    }
  }
  if (INT8) {
    workgroupBarrier();
    for (var t = 0u; t < TOKENS; t++) {
      if (thread % LANES == 0u && t < state.count) {
        write_int8(t, row, sums[t], shared_magnitude(t * 4u + slot));
      }
    }
  }
}
