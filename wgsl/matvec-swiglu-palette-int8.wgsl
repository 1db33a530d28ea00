// y[t, r] = silu(gate[t, r]) * up[t, r] in int8, with gate = inverse_rms(x[t]) * Wg x[t] and up = inverse_rms(x[t]) * Wu x[t]
//
// Weights as in matvec-palette-int8; Wg and Wu are stacked by rows, gate first, so a workgroup makes the same rows of both (GLU
// variants: arXiv 2002.05202). x and y int8 rows (lib/int8-row) [TOKENS]. One workgroup a block of 16 rows.
// #import lib/step-state
// #import lib/palette-rows8
// #import lib/int8-x
// #import lib/lane-sum
// #import lib/int8-row
// #import lib/silu
override THREADS: u32; // LANES * 4
override ROWS: u32; // of y: half the stacked rows

@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> state: StepState;
@group(0) @binding(6) var<storage, read_write> row8: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (state.done == 1u) {
    return;
  }
  let lane = thread % LANES;
  let slot = thread / LANES;
  let row = workgroup.x * 16u + slot * 4u;
  stage_palette(workgroup.x, thread);
  for (var t = 0u; t < TOKENS; t++) {
    stage_square_sums(t, x_row(t), thread);
  }
  workgroupBarrier();
  var gates: TokenSums;
  dot_rows(&gates, row, lane);
  workgroupBarrier(); // the gate's palette has been read
  stage_palette(ROWS / 16u + workgroup.x, thread);
  workgroupBarrier();
  var ups: TokenSums;
  dot_rows(&ups, ROWS + row, lane);
  for (var t = 0u; t < TOKENS; t++) {
    let scale = inverse_rms(t);
    let gate = lane_sum(gates[t], thread) * row_steps(row) * scale;
    let up = lane_sum(ups[t], thread) * row_steps(ROWS + row) * scale;
    ups[t] = silu(gate) * up;
    if (lane == 0u) {
      share_magnitude(t * 4u + slot, ups[t]);
    }
  }
  workgroupBarrier();
  for (var t = 0u; t < TOKENS; t++) {
    if (lane == 0u && t < state.count) {
      write_int8(t, row, ups[t], shared_magnitude(t * 4u + slot));
    }
  }
}
