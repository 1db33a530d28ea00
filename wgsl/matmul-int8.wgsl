// y[t, r] = scale[t] * row_scale[r] * sum_c code[r, c] * x[t, c]  (+ kept columns, + y[t, r] before)
//
// x f32 [T, stride], scale f32 [T] (inverse RMS of each token, where shape.scaled), y f32 [T, y_stride].
// Workgroups (rows / 64, tokens / 16). For software adapters: lib/matmul-int8.
// #import lib/step-state
// #import lib/matmul-int8
// #import lib/kept-columns
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> shape: MatmulShape;

fn kept_word(i: u32) -> u32 {
  let at = shape.rows * shape.cols / 4u + i;
  return codes[at / 4u][at % 4u];
}

fn x_value(t: u32, column: u32) -> f32 {
  return x[(t * shape.stride + column) / 4u][column % 4u];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let token = workgroup.y * TOKENS;
  if (token >= state.count) {
    return;
  }
  let quad = (workgroup.x * THREADS + thread) * 4u;
  let quads = vec4(quad) + vec4(0u, 1u, 2u, 3u);
  var sums = multiply_rows(min(quads, vec4(shape.rows / 4u - 1u)), token, thread);
  for (var t = 0u; t < TOKENS; t++) {
    for (var i = 0u; i < 4u; i++) {
      let row = (quad + i) * 4u;
      let product = sums[t / 4u][t % 4u][i] * scales[quad + i] * CODE_SCALE;
      store(token + t, row, product + kept_columns(shape.kept, token + t, row));
    }
  }
}
