// z[t, s, k] = norm(t) * sum_c A_s[k, c] x[t, c],  norm(t) = 1 / sqrt(mean_c x[t, c]^2 + eps), or 1
//
// For every term s (lib/adapter-terms) of the linears that read x: f32 [T, stride], or rows in int8 (lib/int8-row). RMSNorm
// weights are folded into A. Workgroups (64, T): workgroup k computes row k of each A that has as many.
// #import lib/step-state
// #import lib/adapter-terms
override THREADS: u32;
override INT8: bool;

struct DownShape {
  first: u32, // term of the first linear
  linears: u32,
  cols: u32, // padded to a multiple of 64
  stride: u32, // vec4s from token to token
  norm_cols: u32, // unpadded width; 0: no norm
  eps: f32,
}

@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read_write> z: array<f32>;
@group(0) @binding(5) var<uniform> shape: DownShape;

var<workgroup> partials: array<vec2<f32>, THREADS>;

// Columns 4 quad .. 4 quad + 3 of a row that starts at `start`.
fn columns(start: u32, quad: u32) -> vec4<f32> {
  if (INT8) {
    let scale = bitcast<f32>(x[start + shape.cols / 16u + quad / 16u][quad / 4u % 4u]);
    return vec4<f32>(unpack4xI8(x[start + quad / 4u][quad % 4u])) * scale;
  }
  return bitcast<vec4<f32>>(x[start + quad]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let k = workgroup.x;
  let t = workgroup.y;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let start = t * shape.stride;
  for (var s = 0u; s < shape.linears * TERMS; s++) {
    let term = terms[shape.first + s];
    if (k < term.z) {
      var product = 0.0;
      var squares = 0.0;
      for (var i = thread; i < shape.cols / 8u; i += THREADS) {
        let a = arena[term.x + k * (shape.cols / 8u) + i];
        let low = columns(start, 2u * i);
        let high = columns(start, 2u * i + 1u);
        product += dot(halves(a.x, a.y), low) + dot(halves(a.z, a.w), high);
        squares += dot(low, low) + dot(high, high);
      }
      partials[thread] = vec2(product, squares);
      workgroupBarrier();
      if (thread == 0u) {
        var sums = vec2(0.0);
        for (var i = 0u; i < THREADS; i++) {
          sums += partials[i];
        }
        if (shape.norm_cols > 0u) {
          sums.x *= inverseSqrt(sums.y / f32(shape.norm_cols) + shape.eps);
        }
        z[t * Z_STRIDE + s * MOST_RANK + k] = sums.x;
      }
      workgroupBarrier(); // the partials have been read
    }
  }
}
