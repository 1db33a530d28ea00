// o[t, h] = sum_s exp(m_s - M) partial_sums[t, h, s] / sum_s exp(m_s - M) l_s, (m_s, l_s) the splits' stats and M = max_s m_s
//
// partial_sums f32 [T, H, SPLITS, d], stats vec2 [T, H, SPLITS] (attention-decode), o f32 [T, O_STRIDE], H d of each row.
// One workgroup a head and token. Where INT8, row8 has o in int8 (lib/int8-row), for a linear that reads it so.
// #import lib/step-state
// #import lib/int8-row
override HEAD_SIZE: u32;
override KEYS: u32;
override SPLITS: u32;
override HEADS: u32;
override O_STRIDE: u32;
override INT8: bool;

@group(0) @binding(0) var<storage, read> partial_sums: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> o: array<f32>;
@group(0) @binding(4) var<storage, read_write> row8: array<u32>;

var<workgroup> merged: array<f32, HEAD_SIZE>;

// Of this head, columns 4 quad .. 4 quad + 3.
fn merged_quad(quad: u32) -> vec4<f32> {
  return vec4(merged[quad * 4u], merged[quad * 4u + 1u], merged[quad * 4u + 2u], merged[quad * 4u + 3u]);
}

@compute @workgroup_size(HEAD_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) i: u32) {
  let t = workgroup.y;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let h = t * HEADS + workgroup.x;
  let splits = (state.position + t) / KEYS + 1u;
  var largest = -3.0e38;
  for (var s = 0u; s < splits; s++) {
    largest = max(largest, stats[h * SPLITS + s].x);
  }
  var sum = 0.0;
  var weight = 0.0;
  for (var s = 0u; s < splits; s++) {
    let stat = stats[h * SPLITS + s];
    let scale = exp(stat.x - largest);
    weight += scale * stat.y;
    sum += scale * partial_sums[(h * SPLITS + s) * HEAD_SIZE + i];
  }
  o[t * O_STRIDE + workgroup.x * HEAD_SIZE + i] = sum / weight;
  if (INT8) {
    merged[i] = sum / weight;
    workgroupBarrier();
    if (i < HEAD_SIZE / 4u) {
      let first = i / 4u * 4u;
      let low = max(magnitude(merged_quad(first)), magnitude(merged_quad(first + 1u)));
      let high = max(magnitude(merged_quad(first + 2u)), magnitude(merged_quad(first + 3u)));
      write_int8(t, workgroup.x * HEAD_SIZE + i * 4u, merged_quad(i), max(low, high));
    }
  }
}
