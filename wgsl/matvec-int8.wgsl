// y[t, r] = inverse_rms(x[t]) * scale[r] * sum_c code[r, c] x[t, c]  (+ kept columns, + y[t, r] before), and the same in
// int8 in y8
//
// x and y8 int8 rows (lib/int8-row) [T], y f32 [T, Y_STRIDE]. RMSNorm weights are folded into W, so the norm is one scalar.
// Workgroups (rows / 16, tokens). Products of integers: 16 columns are summed exactly before x's scale is applied.
// #import lib/step-state
// #import lib/int8-weights
// #import lib/int8-x
// #import lib/int8-dot
// #import lib/int8-row
// #import lib/kept-columns
override Y_STRIDE: u32;
override KEPT: u32; // columns, where no norm stands in front
override KEPT_AT: u32; // their first word in codes
override ADD: bool; // add to what y holds: the residual stream
override INT8: bool; // write y8 too

@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> row8: array<u32>;

fn kept_word(i: u32) -> u32 {
  let at = KEPT_AT + i;
  return codes[at / 4u][at % 4u];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = workgroup.y;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let quad = workgroup.x * 4u + thread;
  var result = dot_rows(quad, x_row(t));
  if (EPS >= 0.0) {
    stage_square_sums(0u, x_row(t), thread);
    workgroupBarrier();
    result *= inverse_rms(0u);
  }
  if (KEPT > 0u) {
    result += kept_columns(KEPT, t, quad * 4u);
  }
  let at = t * (Y_STRIDE / 4u) + quad;
  if (ADD) {
    result += y[at];
  }
  y[at] = result;
  if (INT8) {
    share_magnitude(thread, result);
    workgroupBarrier();
    write_int8(t, quad * 4u, result, shared_magnitude(thread));
  }
}
