// o[t, h] = sum_k p[t, h, k] v[k], p[t, h] = softmax over keys k <= position + t of q[t, h] . k[k] / sqrt(d): few tokens
//
// q f32 [T, STRIDE], each row's H d queries first; caches as in rope-kv-write. A workgroup is (kv head and QUERIES of the query
// heads that share it, split of KEYS keys, token): every key and value is loaded and unpacked once for all those heads
// (GQA, arXiv 2305.13245). A token's bits are the same whatever tokens are computed beside it.
// Split results are merged by attention-merge (Flash-Decoding):
// partial_sums f32 [T, H, SPLITS, d], unnormalised; stats vec2 [T, H, SPLITS] = (largest score, sum of exponentials).
// Scores: up to 4 whole keys a thread, so nothing is reduced and a query is read once for the 4. Values: d/4 columns x
// THREADS/(d/4) key lanes.
// #import lib/step-state
override HEAD_SIZE: u32; // a multiple of 16
override QUERIES: u32; // at most 8 query heads a workgroup
override QUERY_GROUPS: u32; // workgroups that share one kv head
override KV_HEADS: u32;
override STRIDE: u32;
override MAX_TOKENS: u32;
override KEYS: u32; // keys of one split, at most 4 THREADS
override SPLITS: u32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> v_cache: array<u32>;
@group(0) @binding(3) var<storage, read> kv_scales: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> state: StepState;
@group(0) @binding(5) var<storage, read_write> partial_sums: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

const THREADS = 64u;
override WORDS: u32 = HEAD_SIZE / 4u;
override QUERY_WORDS: u32 = QUERIES * WORDS;
override SCORES: u32 = QUERIES * KEYS;
override QUERY_THREADS: u32 = QUERIES * THREADS;
var<workgroup> query: array<vec4<f32>, QUERY_WORDS>;
var<workgroup> scores: array<f32, SCORES>;
var<workgroup> reduce: array<f32, QUERY_THREADS>;
var<workgroup> outputs: array<vec4<f32>, QUERY_THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let kv_head = workgroup.x / QUERY_GROUPS;
  let first_head = workgroup.x * QUERIES;
  let split = workgroup.y;
  let t = workgroup.z;
  let start = split * KEYS;
  let length = state.position + t + 1u;
  if (start >= length || t >= state.count || state.done == 1u) {
    return;
  }
  let keys = min(length - start, KEYS);
  let slot = kv_head * MAX_TOKENS + start;

  for (var i = thread; i < QUERIES * WORDS; i += THREADS) {
    query[i] = q[t * (STRIDE / 4u) + first_head * WORDS + i] * inverseSqrt(f32(HEAD_SIZE));
  }
  workgroupBarrier();

  // Keys thread, thread + THREADS, ...: dimensions outside, keys inside, so that no more than 16 dimensions are held at a time.
  var products: array<vec4<f32>, 8>; // q . k of up to 4 keys, by query head
  for (var h = 0u; h < QUERIES; h++) {
    products[h] = vec4(0.0);
  }
  for (var w = 0u; w < WORDS / 4u; w++) {
    for (var j = 0u; j < KEYS / THREADS; j++) {
      if (j * THREADS < keys) {
        let key = min(j * THREADS + thread, keys - 1u);
        let words = k_cache[(slot + key) * (WORDS / 4u) + w];
        let k0 = vec4<f32>(unpack4xI8(words.x));
        let k1 = vec4<f32>(unpack4xI8(words.y));
        let k2 = vec4<f32>(unpack4xI8(words.z));
        let k3 = vec4<f32>(unpack4xI8(words.w));
        for (var h = 0u; h < QUERIES; h++) {
          let at = h * WORDS + w * 4u;
          products[h][j] += dot(query[at], k0) + dot(query[at + 1u], k1) + dot(query[at + 2u], k2) + dot(query[at + 3u], k3);
        }
      }
    }
  }
  var largest: array<f32, 8>;
  for (var h = 0u; h < QUERIES; h++) {
    largest[h] = -3.0e38;
    for (var j = 0u; j < KEYS / THREADS; j++) {
      let key = j * THREADS + thread;
      if (key < keys) {
        let score = products[h][j] * kv_scales[slot + key].x;
        scores[h * KEYS + key] = score;
        largest[h] = max(largest[h], score);
      }
    }
  }
  for (var h = 0u; h < QUERIES; h++) {
    reduce[h * THREADS + thread] = largest[h];
  }
  workgroupBarrier();
  for (var h = 0u; h < QUERIES; h++) {
    var top = -3.0e38;
    for (var i = 0u; i < THREADS; i++) {
      top = max(top, reduce[h * THREADS + i]);
    }
    largest[h] = top;
  }
  workgroupBarrier(); // everyone has read the maxima

  // Exponentials; the value's scale rides along so that the sum over values is one multiply.
  for (var h = 0u; h < QUERIES; h++) {
    var sum = 0.0;
    for (var key = thread; key < keys; key += THREADS) {
      let p = exp(scores[h * KEYS + key] - largest[h]);
      sum += p;
      scores[h * KEYS + key] = p * kv_scales[slot + key].y;
    }
    reduce[h * THREADS + thread] = sum;
  }
  workgroupBarrier();

  let lanes = THREADS / WORDS;
  let word = thread % WORDS;
  let lane = thread / WORDS;
  var sum: array<vec4<f32>, 8>;
  if (lane < lanes) {
    for (var key = lane; key < keys; key += lanes) {
      let v = vec4<f32>(unpack4xI8(v_cache[(slot + key) * WORDS + word]));
      for (var h = 0u; h < QUERIES; h++) {
        sum[h] += scores[h * KEYS + key] * v;
      }
    }
  }
  for (var h = 0u; h < QUERIES; h++) {
    outputs[h * THREADS + thread] = sum[h];
  }
  workgroupBarrier();
  let row = t * KV_HEADS * QUERY_GROUPS * QUERIES + first_head;
  for (var i = thread; i < QUERIES * WORDS; i += THREADS) {
    let h = i / WORDS;
    var total = vec4(0.0);
    for (var l = 0u; l < lanes; l++) {
      total += outputs[h * THREADS + l * WORDS + i % WORDS];
    }
    partial_sums[((row + h) * SPLITS + split) * WORDS + i % WORDS] = total;
  }
  if (thread < QUERIES) {
    var total = 0.0;
    for (var i = 0u; i < THREADS; i++) {
      total += reduce[thread * THREADS + i];
    }
    stats[(row + thread) * SPLITS + split] = vec2(largest[thread], total);
  }
}
