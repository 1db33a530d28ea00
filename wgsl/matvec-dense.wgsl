// y[t, r] = inverse_rms(x[t]) * sum_c W[r, c] * x[t, c]  (+ y[t, r] before)
//
// W f32 [ROWS, COLS], x f32 [TOKENS, X_STRIDE], y f32 [TOKENS, Y_STRIDE]; ROWS and COLS are multiples of 4. A weight is read once and used once, so the
// kernel is bound by memory: lanes that share a row read neighbouring vec4s of it. RMSNorm weights are folded into W. Work: lib/matvec.
// #import lib/step-state
// #import lib/matvec
// #import lib/lane-sum
override ROWS: u32;
override ADD: bool; // add to what y holds: the residual stream

@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

// Adds this lane's part of W x for 4 rows from `row` on.
fn dot_rows(sums: ptr<function, TokenSums>, row: u32, lane: u32) {
  let steps = COLS / 4u;
  for (var step = lane; step < steps; step += LANES) {
    let at = row * steps + step;
    let rows = mat4x4(weights[at], weights[at + steps], weights[at + 2u * steps], weights[at + 3u * steps]);
    add_columns(sums, transpose(rows), step);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (state.done == 1u) {
    return;
  }
  let row = (workgroup.x * SLOTS + thread / LANES) * 4u;
  if (EPS >= 0.0) {
    stage_square_sums(thread);
    workgroupBarrier();
  }
  var sums: TokenSums;
  if (row < ROWS) {
    dot_rows(&sums, row, thread % LANES);
  }
  for (var t = 0u; t < TOKENS; t++) {
    var sum = lane_sum(sums[t], thread);
    if (thread % LANES == 0u && row < ROWS && t < state.count) {
      if (EPS >= 0.0) {
        sum *= inverse_rms(t);
      }
      let at = (t * Y_STRIDE + row) / 4u;
      if (ADD) {
        sum += y[at];
      }
      y[at] = sum;
    }
  }
}
