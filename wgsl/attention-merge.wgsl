// o[t, h] = sum_s exp(m_s - M) partial_sums[t, h, s] / sum_s exp(m_s - M) l_s, (m_s, l_s) the splits' stats and M = max_s m_s
//
// partial_sums f32 [T, H, SPLITS, d], stats vec2 [T, H, SPLITS] (attention-decode), o f32 [T, O_STRIDE], H d of each row.
// One workgroup a head and token. Where INT8, row8 has o in int8 (lib/int8-row), for a linear that reads it so.
// #import lib/step-state
// #import lib/int8-row
// #import lib/kv-splits
override HEAD_SIZE: u32;
override HEADS: u32;
override O_STRIDE: u32;
override INT8: bool;

@group(0) @binding(0) var<storage, read> partial_sums: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> row8: array<u32>;

override QUADS: u32 = HEAD_SIZE / 4u;

@compute @workgroup_size(QUADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) quad: u32) {
  let t = workgroup.y;
  if (t >= state.count || state.done == 1u) {
    return;
  }
  let h = t * HEADS + workgroup.x;
  let splits = (state.position + t) / split_keys(state.position + t + 1u) + 1u;
  var largest = -3.0e38;
  for (var s = 0u; s < splits; s++) {
    largest = max(largest, stats[h * SPLITS + s].x);
  }
  var sum = vec4(0.0);
  var weight = 0.0;
  for (var s = 0u; s < splits; s++) {
    let stat = stats[h * SPLITS + s];
    let scale = exp(stat.x - largest);
    weight += scale * stat.y;
    sum += scale * partial_sums[(h * SPLITS + s) * QUADS + quad];
  }
  let merged = sum / weight;
  let column = workgroup.x * HEAD_SIZE + quad * 4u;
  o[(t * O_STRIDE + column) / 4u] = merged;
  if (INT8) {
    share_magnitude(quad, merged);
    workgroupBarrier();
    write_int8(t, column, merged, shared_magnitude(quad));
  }
}
