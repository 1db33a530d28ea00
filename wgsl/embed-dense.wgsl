// x[t] = table[id], the embedding of each token
//
// table f32 [V, D], tokens u32 [T], x f32 [T, STRIDE]. One workgroup a token.
// #import lib/step-state
override D: u32; // a multiple of 4
override STRIDE: u32; // floats from row to row of x, D padded

@group(0) @binding(0) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;

const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = workgroup.x;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let row = tokens[t] * (D / 4u);
  for (var i = thread; i < D / 4u; i += THREADS) {
    x[t * (STRIDE / 4u) + i] = table[row + i];
  }
}
