// y[t, r] = silu(v[t, r]) * v[t, ROWS + r]
//
// v f32 [T, 2 ROWS], gate and up of each token side by side (GLU variants: arXiv 2002.05202), y f32 [T, Y_STRIDE].
// Workgroups (ROWS / 256, T), a thread a vec4. Palettized models compute it inside the linear instead.
// #import lib/step-state
// #import lib/silu
override ROWS: u32; // a multiple of 4
override Y_STRIDE: u32;

@group(0) @binding(0) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  if (t >= state.count || state.done == 1u || id.x >= ROWS / 4u) {
    return;
  }
  let gate = t * (ROWS / 2u) + id.x;
  y[t * (Y_STRIDE / 4u) + id.x] = silu(v[gate]) * v[gate + ROWS / 4u];
}
