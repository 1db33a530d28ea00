// row8[t] = x[t] in int8 (lib/int8-row), and where EPS is not negative scale[t] = 1 / sqrt(mean_c q[t, c]^2 + EPS), q what
// those codes stand for: RMSNorm's scalar for the linear that reads them.
//
// x f32 [T, ROW8_COLS] (padding zero), scale f32 [T]. One workgroup a row of a prefill step; decode's kernels write rows in int8
// themselves.
// #import lib/step-state
// #import lib/int8-row
override EPS: f32;
override NORM_COLS: u32; // unpadded width

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read_write> row8: array<u32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;

const THREADS = 64u;
var<workgroup> square_sums: array<f32, THREADS>;

fn square_sum(v: vec4<f32>) -> f32 {
  let codes = round(v);
  return dot(codes, codes);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = workgroup.x;
  if (t >= state.count) {
    return;
  }
  var sum = 0.0;
  for (var column = thread * 16u; column < ROW8_COLS; column += THREADS * 16u) {
    let at = (t * ROW8_COLS + column) / 4u;
    let a = x[at];
    let b = x[at + 1u];
    let c = x[at + 2u];
    let d = x[at + 3u];
    let largest = max(max(magnitude(a), magnitude(b)), max(magnitude(c), magnitude(d)));
    write_int8(t, column, a, largest);
    write_int8(t, column + 4u, b, largest);
    write_int8(t, column + 8u, c, largest);
    write_int8(t, column + 12u, d, largest);
    let steps = int8_steps(largest);
    let step = largest / 127.0;
    sum += (square_sum(a * steps) + square_sum(b * steps) + square_sum(c * steps) + square_sum(d * steps)) * step * step;
  }
  if (EPS >= 0.0) {
    square_sums[thread] = sum;
    workgroupBarrier();
    if (thread == 0u) {
      var total = 0.0;
      for (var i = 0u; i < THREADS; i++) {
        total += square_sums[i];
      }
      scale[t] = inverseSqrt(total / f32(NORM_COLS) + EPS);
    }
  }
}
