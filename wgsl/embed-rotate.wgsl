// x[t] = (row_scale[id] * table[id]) R, the embedding of each token carried into the rotated basis
//
// table int8 [V, D] four to a word, row_scale f32 [V], tokens u32 [T], x f32 [T, STRIDE]. One workgroup a token.
// Where INT8, row8 has x in int8 too (lib/int8-row).
// The table stays in its own basis because the tied head reads it too (format.md 2, recipe 4).
// #import lib/step-state
// #import lib/rotation
// #import lib/int8-row
override STRIDE: u32; // floats from row to row of x, D padded
override INT8: bool;

@group(0) @binding(0) var<storage, read> table: array<u32>;
@group(0) @binding(1) var<storage, read> row_scale: array<f32>;
@group(0) @binding(2) var<storage, read> rotation: array<f32>;
@group(0) @binding(3) var<storage, read> tokens: array<u32>;
@group(0) @binding(4) var<storage, read> state: StepState;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;
@group(0) @binding(6) var<storage, read_write> row8: array<u32>;

fn result(at: u32) -> f32 {
  if (DCT > 0u) {
    return mixed[at];
  }
  return vector[at];
}

// 16 columns a thread.
fn write_row8(t: u32, thread: u32) {
  for (var column = thread * 16u; column < D; column += THREADS * 16u) {
    var largest = 0.0;
    for (var i = 0u; i < 16u; i++) {
      largest = max(largest, abs(result(column + i)));
    }
    for (var i = column; i < column + 16u; i += 4u) {
      write_int8(t, i, vec4(result(i), result(i + 1u), result(i + 2u), result(i + 3u)), largest);
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = workgroup.x;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let id = tokens[t];
  for (var i = thread; i < D / 4u; i += THREADS) {
    let values = vec4<f32>(unpack4xI8(table[id * (D / 4u) + i])) * row_scale[id];
    for (var j = 0u; j < 4u; j++) {
      let at = i * 4u + j;
      vector[at] = values[j] * select(1.0, rotation[DCT * DCT + at], DCT > 0u);
    }
  }
  workgroupBarrier();
  if (DCT > 0u) {
    // (C kron H) is the same in either order: first inside blocks, then across.
    hadamard_blocks(thread);
    dct_blocks(thread, false);
  }
  for (var at = thread; at < D; at += THREADS) {
    x[t * STRIDE + at] = result(at);
  }
  if (INT8) {
    write_row8(t, thread);
  }
}
