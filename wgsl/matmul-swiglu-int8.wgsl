// y[t, r] = silu(gate[t, r]) * up[t, r], gate = scale[t] * Wg x[t], up = scale[t] * Wu x[t]
//
// x f32 [T, stride], scale f32 [T] (inverse RMS), y f32 [T, y_stride]. Wg and Wu are stacked [2 rows, cols], gate first:
// a thread has two row quads of each. Workgroups (rows / 32, tokens / 16). For software adapters: lib/matmul-int8.
// #import lib/step-state
// #import lib/matmul-int8
// #import lib/silu
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> shape: MatmulShape;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let token = workgroup.y * TOKENS;
  if (token >= state.count) {
    return;
  }
  let quad = (workgroup.x * THREADS + thread) * 2u;
  let up = shape.rows / 4u;
  let gates = min(vec2(quad, quad + 1u), vec2(up - 1u));
  var sums = multiply_rows(vec4(gates, gates + up), token, thread);
  if (quad >= up) {
    return;
  }
  for (var t = 0u; t < min(TOKENS, state.count - token); t++) {
    let sum = sums[t / 4u][t % 4u];
    let norm = scale[token + t] * CODE_SCALE;
    for (var i = 0u; i < 2u; i++) {
      let gate = sum[i] * scales[quad + i] * norm;
      y[(token + t) * (shape.y_stride / 4u) + quad + i] = silu(gate) * (sum[i + 2u] * scales[up + quad + i] * norm);
    }
  }
}
