// row8[t] = x[t] in int8 (lib/int8-row): for activations whose maker writes f32 only.
//
// x f32 [T, ROW8_COLS]. Workgroups (cols / 16 / 64, tokens); a thread writes 16 columns.
// #import lib/step-state
// #import lib/int8-row
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read_write> row8: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  let column = id.x * 16u;
  if (column >= ROW8_COLS || t >= state.count || state.done == 1u) {
    return;
  }
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
}
