// o[t, h] = sum_k p[t, h, k] v[k], p[t, h] = softmax over keys k <= position + t of q[t, h] . k[k] / sqrt(d): few tokens
//
// q f32 [T, STRIDE], each row's H d queries first; the cache as in lib/kv-cache. A workgroup is (kv head and 4 of the query heads
// that share it, split, token): every key and value is loaded and unpacked once for all those heads (GQA, arXiv 2305.13245).
// A token's bits are the same whatever tokens are computed beside it.
// Split results are merged by attention-merge (Flash-Decoding):
// partial_sums f32 [T, H, SPLITS, d], unnormalised; stats vec2 [T, H, SPLITS] = (largest score, sum of exponentials).
// Keys pass in chunks of 4 a thread with an online softmax (FlashAttention-2, arXiv 2307.08691). Scores: whole keys to a thread, so
// nothing is reduced and a query is read once for 4 of them. Values: d/4 columns x LANES key lanes. Four heads are a matrix's
// columns; where fewer share a kv head the last is computed again and dropped.
// #import lib/step-state
// #import lib/read-kv
// #import lib/kv-splits
override THREADS: u32; // LANES * d/4 of them or more; on software adapters d/4, for there every thread has its price
override LANES: u32;
override QUERIES: u32; // query heads of a workgroup, at most 4
override QUERY_GROUPS: u32; // workgroups that share one kv head
override KV_HEADS: u32;
override STRIDE: u32;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<u32>;
@group(0) @binding(2) var<storage, read> v_cache: array<u32>;
@group(0) @binding(3) var<storage, read> kv_scales: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> state: StepState;
@group(0) @binding(5) var<storage, read_write> partial_sums: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

override QUADS: u32 = HEAD_SIZE / 4u;
override CHUNK: u32 = 4u * THREADS;
var<workgroup> exponentials: array<vec4<f32>, CHUNK>; // of 4 heads, times the value's scale; in the end the lanes' sums
var<workgroup> found: array<vec4<f32>, THREADS>; // what a thread found for 4 heads: its largest score, in the end its weight

// Four columns of the four heads' queries.
fn read_queries(at: u32) -> mat4x4<f32> {
  return mat4x4(
    q[at],
    q[at + min(1u, QUERIES - 1u) * QUADS],
    q[at + min(2u, QUERIES - 1u) * QUADS],
    q[at + min(3u, QUERIES - 1u) * QUADS],
  );
}

// Never seen keys score so low that their exponential is 0.
fn score(product: vec4<f32>, kv_head: u32, token: u32, seen: bool) -> vec4<f32> {
  return select(vec4(-3.0e38), product * (key_scale(kv_head, token) * inverseSqrt(f32(HEAD_SIZE))), seen);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let kv_head = workgroup.x / QUERY_GROUPS;
  let first_head = workgroup.x * QUERIES;
  let split = workgroup.y;
  let t = workgroup.z;
  let length = state.position + t + 1u;
  let most = split_keys(length);
  let start = split * most;
  if (start >= length || t >= state.count || state.done == 1u) {
    return;
  }
  let end = min(start + most, length);
  let query = t * (STRIDE / 4u) + first_head * QUADS;

  let quad = thread % QUADS;
  let lane = thread / QUADS;
  var largest = vec4(-3.0e38);
  var weight = vec4(0.0); // sum of exponentials of this thread's keys
  var sums: mat4x4<f32>; // 4 columns of o for 4 heads, a column of the matrix a head
  for (var first = start; first < end; first += CHUNK) {
    let keys = min(end - first, CHUNK);
    let key = thread + vec4(0u, THREADS, 2u * THREADS, 3u * THREADS);
    let token = first + min(key, vec4(keys - 1u));
    // q . k of 4 heads, a column a key. Zeroed by hand: in a loop some compilers keep what the turn before left.
    var products = mat4x4<f32>();
    for (var part = 0u; part < QUADS / 2u; part++) {
      let q0 = read_queries(query + part * 2u);
      let q1 = read_queries(query + part * 2u + 1u);
      var k = read_key(kv_head, token.x, part);
      products[0] += k[0] * q0 + k[1] * q1;
      if (keys > THREADS) {
        k = read_key(kv_head, token.y, part);
        products[1] += k[0] * q0 + k[1] * q1;
      }
      if (keys > 2u * THREADS) {
        k = read_key(kv_head, token.z, part);
        products[2] += k[0] * q0 + k[1] * q1;
      }
      if (keys > 3u * THREADS) {
        k = read_key(kv_head, token.w, part);
        products[3] += k[0] * q0 + k[1] * q1;
      }
    }
    let s0 = score(products[0], kv_head, token.x, key.x < keys);
    let s1 = score(products[1], kv_head, token.y, key.y < keys);
    let s2 = score(products[2], kv_head, token.z, key.z < keys);
    let s3 = score(products[3], kv_head, token.w, key.w < keys);
    found[thread] = max(max(s0, s1), max(s2, s3));
    workgroupBarrier(); // also: everyone has read the exponentials of the chunk before
    let before = largest;
    for (var i = 0u; i < min(keys, THREADS); i++) {
      largest = max(largest, found[i]);
    }
    let rescale = exp(before - largest);
    let p0 = exp(s0 - largest);
    let p1 = exp(s1 - largest);
    let p2 = exp(s2 - largest);
    let p3 = exp(s3 - largest);
    weight = weight * rescale + ((p0 + p1) + (p2 + p3));
    // The value's scale rides along so that the sum over values is one multiply.
    exponentials[key.x] = p0 * value_scale(kv_head, token.x);
    exponentials[key.y] = p1 * value_scale(kv_head, token.y);
    exponentials[key.z] = p2 * value_scale(kv_head, token.z);
    exponentials[key.w] = p3 * value_scale(kv_head, token.w);
    workgroupBarrier();
    sums = mat4x4(sums[0] * rescale.x, sums[1] * rescale.y, sums[2] * rescale.z, sums[3] * rescale.w);
    if (lane < LANES) {
      for (var i = lane; i < keys; i += LANES) {
        let v = read_value(kv_head, first + i, quad);
        let p = exponentials[i];
        sums[0] += p.x * v;
        sums[1] += p.y * v;
        sums[2] += p.z * v;
        sums[3] += p.w * v;
      }
    }
  }

  workgroupBarrier(); // everyone has read the exponentials
  found[thread] = weight;
  if (lane < LANES) {
    for (var h = 0u; h < QUERIES; h++) {
      exponentials[(h * LANES + lane) * QUADS + quad] = sums[h];
    }
  }
  workgroupBarrier();
  let row = t * KV_HEADS * QUERY_GROUPS * QUERIES + first_head;
  for (var i = thread; i < QUERIES * QUADS; i += THREADS) {
    let h = i / QUADS;
    var total = vec4(0.0);
    for (var l = 0u; l < LANES; l++) {
      total += exponentials[(h * LANES + l) * QUADS + i % QUADS];
    }
    partial_sums[((row + h) * SPLITS + split) * QUADS + i % QUADS] = total;
  }
  if (thread < QUERIES) {
    var total = 0.0;
    for (var i = 0u; i < THREADS; i++) {
      total += found[i][thread];
    }
    stats[(row + thread) * SPLITS + split] = vec2(largest[thread], total);
  }
}
