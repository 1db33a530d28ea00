// scale[t] = 1 / sqrt(mean_c x[t, c]^2 + EPS), the scalar of RMSNorm (arXiv 1910.07467) for each row of a prefill step.
//
// x f32 [T, COLS] (padding zero), scale f32 [T]. One workgroup a row. Decode computes it inside its matvec instead.
// #import lib/step-state
override THREADS: u32;
override COLS: u32; // padded width
override NORM_COLS: u32; // unpadded width
override EPS: f32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = workgroup.x;
  if (t >= state.count) {
    return;
  }
  var sum = vec4(0.0);
  for (var i = thread; i < COLS / 4u; i += THREADS) {
    let v = x[t * (COLS / 4u) + i];
    sum += v * v;
  }
  sums[thread] = dot(sum, vec4(1.0));
  workgroupBarrier();
  if (thread == 0u) {
    var total = 0.0;
    for (var i = 0u; i < THREADS; i++) {
      total += sums[i];
    }
    scale[t] = inverseSqrt(total / f32(NORM_COLS) + EPS);
  }
}
