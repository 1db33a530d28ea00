// y[t, r] = silu(gate[t, r]) * up[t, r] in int8, with gate = inverse_rms(x[t]) * Wg x[t] and up = inverse_rms(x[t]) * Wu x[t]
//
// x and y int8 rows (lib/int8-row) [T]. Wg and Wu are stacked by rows, gate first, so a workgroup makes the same rows of both
// (GLU variants: arXiv 2002.05202). Workgroups (rows / 16, tokens).
// #import lib/step-state
// #import lib/int8-weights
// #import lib/int8-x
// #import lib/int8-dot
// #import lib/int8-row
// #import lib/silu
override ROWS: u32; // of y: half the stacked rows

@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read_write> row8: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = workgroup.y;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let start = x_row(t);
  stage_square_sums(0u, start, thread);
  let quad = workgroup.x * 4u + thread;
  let gate = dot_rows(quad, start);
  let up = dot_rows(ROWS / 4u + quad, start);
  workgroupBarrier();
  let scale = inverse_rms(0u);
  let result = silu(gate * scale) * (up * scale);
  share_magnitude(thread, result);
  workgroupBarrier();
  write_int8(t, quad * 4u, result, shared_magnitude(thread));
}
