// y[t, r] = silu(gate[r]) * up[r], with gate = inverse_rms(x[t]) * Wg x[t] and up = inverse_rms(x[t]) * Wu x[t]
//
// x f32 [TOKENS, X_STRIDE], y f32 [TOKENS, Y_STRIDE]. Wg and Wu are stacked in one palettized tensor [2 ROWS, COLS], gate first, so a workgroup
// makes the same rows of both and the product needs no second pass (GLU variants: arXiv 2002.05202).
// #import lib/step-state
// #import lib/palette-rows
// #import lib/matvec
// #import lib/lane-sum
// #import lib/silu
override ROWS: u32; // of y: half the stacked rows

@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> state: StepState;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (state.done == 1u) {
    return;
  }
  let first_row = workgroup.x * SLOTS * 4u;
  let row = first_row + thread / LANES * 4u;
  let lane = thread % LANES;
  stage_palettes(first_row, thread);
  stage_square_sums(thread);
  workgroupBarrier();
  var gates: TokenSums;
  if (row < ROWS) {
    dot_rows(&gates, row, first_row, lane);
  }
  workgroupBarrier(); // the gate's palettes have been read
  stage_palettes(ROWS + first_row, thread);
  workgroupBarrier();
  var ups: TokenSums;
  if (row < ROWS) {
    dot_rows(&ups, ROWS + row, ROWS + first_row, lane);
  }
  for (var t = 0u; t < TOKENS; t++) {
    let gate = lane_sum(gates[t], thread);
    let up = lane_sum(ups[t], thread);
    if (lane == 0u && row < ROWS && t < state.count) {
      let scale = inverse_rms(t);
      y[(t * Y_STRIDE + row) / 4u] = silu(gate * row_scales(row) * scale) * (up * row_scales(ROWS + row) * scale);
    }
  }
}
