// q, k <- RoPE(q, k); cache[position] <- int8(k), int8(v)
//
// qkv f32 [T, STRIDE]: H query heads at 0, G key heads at K_AT, G value heads at V_AT, each of d values; q is rotated in place.
// RoPE (arXiv 2104.09864) in Llama's half-split form: (a, b) = (v[i], v[i + d/2]) -> (a cos - b sin, b cos + a sin),
// from an f32 table cos_sin vec2 [positions, d/2] because sin and cos differ from driver to driver.
// k_cache, v_cache int8 [G, MAX_TOKENS, d] four to a word; kv_scales f32 [G, MAX_TOKENS, 2] = (k, v).
// code = round_to_even(v * 127 / amax), scale = amax / 127: one scale for a token and kv head.
// Workgroups (H + 2G, T), d/2 threads each: one head of one token.
// #import lib/step-state
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_SIZE: u32;
override HALF: u32; // HEAD_SIZE / 2
override STRIDE: u32;
override K_AT: u32;
override V_AT: u32;
override MAX_TOKENS: u32;

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> cos_sin: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(5) var<storage, read_write> kv_scales: array<f32>;

var<workgroup> values: array<f32, HEAD_SIZE>;

@compute @workgroup_size(HALF)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = workgroup.x;
  let t = workgroup.y;
  let position = state.position + t;
  if (t >= state.count || position >= MAX_TOKENS || state.done == 1u) {
    return;
  }
  let is_query = head < HEADS;
  let is_value = head >= HEADS + KV_HEADS;
  let kv_head = select(head - HEADS, head - HEADS - KV_HEADS, is_value);
  let start = t * STRIDE + select(select(K_AT, V_AT, is_value) + kv_head * HEAD_SIZE, head * HEAD_SIZE, is_query);

  var a = qkv[start + thread];
  var b = qkv[start + HALF + thread];
  if (!is_value) {
    let turn = cos_sin[position * HALF + thread];
    let rotated = vec2(a * turn.x - b * turn.y, b * turn.x + a * turn.y);
    a = rotated.x;
    b = rotated.y;
  }
  if (is_query) {
    qkv[start + thread] = a;
    qkv[start + HALF + thread] = b;
    return;
  }

  values[thread] = a;
  values[thread + HALF] = b;
  workgroupBarrier();
  var largest = 0.0;
  for (var i = 0u; i < HEAD_SIZE; i++) {
    largest = max(largest, abs(values[i]));
  }
  let to_code = select(0.0, 127.0 / largest, largest > 0.0);
  let slot = kv_head * MAX_TOKENS + position;
  for (var word = thread; word < HEAD_SIZE / 4u; word += HALF) {
    let v = vec4(values[word * 4u], values[word * 4u + 1u], values[word * 4u + 2u], values[word * 4u + 3u]);
    let packed = pack4xI8(vec4<i32>(round(v * to_code)));
    let at = slot * (HEAD_SIZE / 4u) + word;
    if (is_value) {
      v_cache[at] = packed;
    } else {
      k_cache[at] = packed;
    }
  }
  if (thread == 0u) {
    kv_scales[slot * 2u + select(0u, 1u, is_value)] = largest / 127.0;
  }
}
