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

fn dot_word(word: u32, v: vec4<f32>) -> f32 {
  return dot(vec4<f32>(unpack4xI8(word)), v);
}

fn dot_step(row: u32, step: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) -> f32 {
  let words = table[row * (COLS / 16u) + step];
  return dot_word(words.x, v0) + dot_word(words.y, v1) + dot_word(words.z, v2) + dot_word(words.w, v3);
}

// 4 rows x 16 columns times token t's x.
fn products(row: u32, step: u32, t: u32) -> vec4<f32> {
  let at = t * (X_STRIDE / 4u) + step * 4u;
  let v0 = x[at];
  let v1 = x[at + 1u];
  let v2 = x[at + 2u];
  let v3 = x[at + 3u];
  return vec4(
    dot_step(row, step, v0, v1, v2, v3), dot_step(row + 1u, step, v0, v1, v2, v3),
    dot_step(row + 2u, step, v0, v1, v2, v3), dot_step(row + 3u, step, v0, v1, v2, v3),
  );
}

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
      if (TOKENS == 1u) {
        sums[0] += products(row, step, 0u); // see lib/few-tokens
      } else {
        for (var t = 0u; t < TOKENS; t++) {
          sums[t] += products(row, step, t);
        }
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
