// y[r] = inverse_rms(x) * sum_c W[r, c] * x[c]  (+ y[r] before)
//
// W f32 [ROWS, COLS], x f32 [COLS], y f32 [ROWS]; ROWS and COLS are multiples of 4. A weight is read once and used once, so the
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

// This lane's part of W x for 4 rows from `row` on.
fn dot_rows(row: u32, lane: u32) -> vec4<f32> {
  let steps = COLS / 4u;
  var sum = vec4(0.0);
  for (var step = lane; step < steps; step += LANES) {
    let v = x[step];
    let at = row * steps + step;
    sum += vec4(
      dot(weights[at], v), dot(weights[at + steps], v),
      dot(weights[at + 2u * steps], v), dot(weights[at + 3u * steps], v),
    );
  }
  return sum;
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
  var sum = vec4(0.0);
  if (row < ROWS) {
    sum = dot_rows(row, thread % LANES);
  }
  sum = lane_sum(sum, thread);
  if (thread % LANES == 0u && row < ROWS) {
    if (EPS >= 0.0) {
      sum *= inverse_rms();
    }
    if (ADD) {
      sum += y[row / 4u];
    }
    y[row / 4u] = sum;
  }
}
