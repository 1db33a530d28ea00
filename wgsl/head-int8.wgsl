// logits[t, v] = row_scale[v] * sum_c table[v, c] * x[t, c]
//
// table int8 [V, D] four to a word (the embedding: tied heads share it), row_scale f32 [V], x f32 [TOKENS, X_STRIDE],
// logits f32 [TOKENS, ROWS].
// D a multiple of 16: every load of the table is 16 bytes. Work as in lib/matvec: a thread owns 4 rows, LANES threads share them.
// Rows beyond V (V is padded to 4) read zeros of the padded buffers.
// #import lib/step-state
// #import lib/few-tokens
// #import lib/lane-sum
override ROWS: u32;
override COLS: u32;
override SLOTS: u32;
override THREADS: u32; // LANES * SLOTS

@group(0) @binding(0) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> row_scale: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read_write> logits: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  if (state.done == 1u) {
    return;
  }
  let row = (workgroup.y * workgroups.x + workgroup.x) * SLOTS * 4u + thread / LANES * 4u;
  var sums: TokenSums;
  if (row < ROWS) {
    for (var step = thread % LANES; step < COLS / 16u; step += LANES) {
      let w0 = table[row * (COLS / 16u) + step];
      let w1 = table[(row + 1u) * (COLS / 16u) + step];
      let w2 = table[(row + 2u) * (COLS / 16u) + step];
      let w3 = table[(row + 3u) * (COLS / 16u) + step];
      for (var i = 0u; i < 4u; i++) {
        let rows = mat4x4(
          vec4<f32>(unpack4xI8(w0[i])), vec4<f32>(unpack4xI8(w1[i])), vec4<f32>(unpack4xI8(w2[i])), vec4<f32>(unpack4xI8(w3[i])),
        );
        add_columns(&sums, transpose(rows), step * 4u + i);
      }
    }
  }
  for (var t = 0u; t < TOKENS; t++) {
    let sum = lane_sum(sums[t], thread);
    if (thread % LANES == 0u && row < ROWS && t < state.count) {
      logits[(t * Y_STRIDE + row) / 4u] = sum * row_scale[row / 4u];
    }
  }
}
