// y[t] = norm_weight * (x[row + t] R^T) / rms(x[row + t]), the final RMSNorm on the way back to the embedding's own basis
//
// x f32 [T, STRIDE], row = state.row: only the positions whose logits are wanted; norm_weight f32 [D], y f32 [rows, D].
// A rotation keeps the norm of a vector, so rms(x) is taken before it is undone. One workgroup a row.
// #import lib/step-state
// #import lib/rotation
override STRIDE: u32;
override EPS: f32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> rotation: array<f32>;
@group(0) @binding(2) var<storage, read> norm_weight: array<f32>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = state.row + workgroup.x;
  if (row >= state.count || state.done == 1u) {
    return;
  }
  let start = row * STRIDE;
  let out = workgroup.x * D;
  var sum = 0.0;
  for (var at = thread; at < D; at += THREADS) {
    let v = x[start + at];
    vector[at] = v;
    sum += v * v;
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
    workgroupBarrier();
  }
  let scale = inverseSqrt(sums[0] / f32(D) + EPS);
  if (DCT > 0u) {
    hadamard_blocks(thread);
    dct_blocks(thread, true);
    for (var at = thread; at < D; at += THREADS) {
      y[out + at] = mixed[at] * rotation[DCT * DCT + at] * scale * norm_weight[at];
    }
  } else {
    for (var at = thread; at < D; at += THREADS) {
      y[out + at] = vector[at] * scale * norm_weight[at];
    }
  }
}
