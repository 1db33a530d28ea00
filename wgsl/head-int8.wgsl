// logits[t, v] = row_scale[v] * sum_c table[v, c] * x[t, c]
//
// table int8 [V, D] four to a word (the embedding: tied heads share it), row_scale f32 [V], x f32 [TOKENS, X_STRIDE],
// logits f32 [TOKENS, ROWS].
// D a multiple of 16: every load of the table is 16 bytes. Work as in lib/matvec: a thread owns 4 rows, LANES threads share them.
// Rows beyond V (V is padded to 4) read zeros of the padded buffers.
// #import lib/step-state
// #import lib/few-tokens
// #import lib/lane-sum
// #import lib/sixteen-columns
// #import lib/int8-floats
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

fn dot_words(words: vec4<u32>, v: mat4x4<f32>) -> f32 {
  return dot_word(words.x, v[0]) + dot_word(words.y, v[1]) + dot_word(words.z, v[2]) + dot_word(words.w, v[3]);
}

// 4 rows x 16 columns times token t's x; the same times 2^24 on software adapters, see lib/int8-floats.
fn products(row: u32, step: u32, t: u32, thread: u32) -> vec4<f32> {
  let v = read_columns(t * (X_STRIDE / 4u) + step * 4u, thread);
  let at = row * (COLS / 16u) + step;
  let a = table[at];
  let b = table[at + COLS / 16u];
  let c = table[at + 2u * (COLS / 16u)];
  let d = table[at + 3u * (COLS / 16u)];
  if (LANES > 1u) {
    return vec4(dot_words(a, v), dot_words(b, v), dot_words(c, v), dot_words(d, v));
  }
  var sum = add_products(vec4(0.0), by_column(vec4(a.x, b.x, c.x, d.x)), v[0]);
  sum = add_products(sum, by_column(vec4(a.y, b.y, c.y, d.y)), v[1]);
  sum = add_products(sum, by_column(vec4(a.z, b.z, c.z, d.z)), v[2]);
  return add_products(sum, by_column(vec4(a.w, b.w, c.w, d.w)), v[3]);
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
  let read = min(row, ROWS - 4u); // threads without rows hand columns round, too
  var sums: TokenSums;
  for (var step = thread % LANES; step < COLS / 16u; step += LANES) {
    if (TOKENS == 1u) {
      sums[0] += products(read, step, 0u, thread); // see lib/few-tokens
    } else {
      for (var t = 0u; t < TOKENS; t++) {
        sums[t] += products(read, step, t, thread);
      }
    }
  }
  let code = select(CODE_SCALE, 1.0, LANES > 1u);
  for (var t = 0u; t < TOKENS; t++) {
    let sum = lane_sum(sums[t], thread);
    if (thread % LANES == 0u && row < ROWS && t < state.count) {
      logits[(t * Y_STRIDE + row) / 4u] = sum * code * row_scale[row / 4u];
    }
  }
}
