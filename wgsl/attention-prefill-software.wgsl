// o[t, h] = sum_k p[k] v[k], p = softmax over keys k <= position + t of q[t, h] . k[k] / sqrt(d): causal, for software adapters
//
// qkv f32 [T, STRIDE] with the rotated queries at 0 (rope-kv-write), the cache as in lib/kv-cache, o f32 [T, O_STRIDE].
// A thread has 4 query rows (tokens x query heads of a kv head) and all their keys to itself: it shares nothing, since barriers
// cost such adapters more than to load twice. Keys pass in chunks of 16 with an online softmax (FlashAttention-2, arXiv
// 2307.08691): the scores of a chunk stay in registers, a key and a value serve 4 rows, a query and a sum 16 keys. The sums of
// the chunks so far stand in o.
// #import lib/step-state
// #import lib/read-kv
override QUERIES: u32; // query heads of a kv head
override STRIDE: u32;
override O_STRIDE: u32;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<u32>;
@group(0) @binding(2) var<storage, read> v_cache: array<u32>;
@group(0) @binding(3) var<storage, read> kv_scales: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> state: StepState;
@group(0) @binding(5) var<storage, read_write> o: array<vec4<f32>>;

const THREADS = 4u; // what such an adapter runs in step
const ROWS = 4u; // of a thread
const KEYS = 16u; // of a chunk

// Columns 8 part .. 8 part + 7 of the thread's queries: a column of a matrix has one column of the 4 rows.
struct Queries {
  low: mat4x4<f32>,
  high: mat4x4<f32>,
}

// For 4 x 4 keys the thread's 4 rows: column i of matrix j is key 4 j + i.
struct Chunk {
  a: mat4x4<f32>,
  b: mat4x4<f32>,
  c: mat4x4<f32>,
  d: mat4x4<f32>,
}

fn add_products(sum: vec4<f32>, q: mat4x4<f32>, k: vec4<f32>) -> vec4<f32> {
  return fma(q[3], vec4(k.w), fma(q[2], vec4(k.z), fma(q[1], vec4(k.y), fma(q[0], vec4(k.x), sum))));
}

fn add_key(sum: vec4<f32>, q: Queries, k: mat2x4<f32>) -> vec4<f32> {
  return add_products(add_products(sum, q.low, k[0]), q.high, k[1]);
}

fn add_keys(sums: mat4x4<f32>, q: Queries, kv_head: u32, tokens: vec4<u32>, part: u32) -> mat4x4<f32> {
  return mat4x4(
    add_key(sums[0], q, read_key(kv_head, tokens.x, part)), add_key(sums[1], q, read_key(kv_head, tokens.y, part)),
    add_key(sums[2], q, read_key(kv_head, tokens.z, part)), add_key(sums[3], q, read_key(kv_head, tokens.w, part)),
  );
}

// Keys that a row must not see score so low that their exponential is 0.
fn score(product: vec4<f32>, kv_head: u32, token: u32, key: u32, limits: vec4<u32>) -> vec4<f32> {
  return select(vec4(-3.0e38), product * (key_scale(kv_head, token) * inverseSqrt(f32(HEAD_SIZE))), vec4(key) <= limits);
}

fn scores(products: mat4x4<f32>, kv_head: u32, tokens: vec4<u32>, key: u32, limits: vec4<u32>) -> mat4x4<f32> {
  return mat4x4(
    score(products[0], kv_head, tokens.x, key, limits), score(products[1], kv_head, tokens.y, key + 1u, limits),
    score(products[2], kv_head, tokens.z, key + 2u, limits), score(products[3], kv_head, tokens.w, key + 3u, limits),
  );
}

fn largest_of(s: mat4x4<f32>) -> vec4<f32> {
  return max(max(s[0], s[1]), max(s[2], s[3]));
}

fn exponentials(s: mat4x4<f32>, largest: vec4<f32>) -> mat4x4<f32> {
  return mat4x4(exp(s[0] - largest), exp(s[1] - largest), exp(s[2] - largest), exp(s[3] - largest));
}

fn sum_of(p: mat4x4<f32>) -> vec4<f32> {
  return (p[0] + p[1]) + (p[2] + p[3]);
}

// The value's scale rides along, so that a sum over values is one multiply.
fn scaled(p: mat4x4<f32>, kv_head: u32, tokens: vec4<u32>) -> mat4x4<f32> {
  return mat4x4(
    p[0] * value_scale(kv_head, tokens.x), p[1] * value_scale(kv_head, tokens.y),
    p[2] * value_scale(kv_head, tokens.z), p[3] * value_scale(kv_head, tokens.w),
  );
}

// Adds 4 columns of a value to the sums, a column of the matrix a row of the thread's.
fn add_value(sums: mat4x4<f32>, p: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
  return mat4x4(
    fma(vec4(p.x), v, sums[0]), fma(vec4(p.y), v, sums[1]), fma(vec4(p.z), v, sums[2]), fma(vec4(p.w), v, sums[3]),
  );
}

fn add_values(sums: mat4x4<f32>, p: mat4x4<f32>, kv_head: u32, tokens: vec4<u32>, quad: u32) -> mat4x4<f32> {
  let first = add_value(sums, p[0], read_value(kv_head, tokens.x, quad));
  let second = add_value(first, p[1], read_value(kv_head, tokens.y, quad));
  let third = add_value(second, p[2], read_value(kv_head, tokens.z, quad));
  return add_value(third, p[3], read_value(kv_head, tokens.w, quad));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let kv_head = workgroup.y;
  let first = workgroup.x * THREADS * ROWS; // rows are token-major: row = t * QUERIES + query head within the kv head
  let rows = state.count * QUERIES;
  if (first >= rows) {
    return;
  }
  let mine = first + thread * ROWS + vec4(0u, 1u, 2u, 3u);
  let row = min(mine, vec4(rows - 1u));
  let row_token = row / QUERIES;
  let column = (kv_head * QUERIES + row % QUERIES) * (HEAD_SIZE / 4u);
  let q_at = row_token * (STRIDE / 4u) + column;
  let o_at = row_token * (O_STRIDE / 4u) + column;
  let limits = state.position + row_token; // the last key that each row may see
  let length = state.position + (min(first + THREADS * ROWS, rows) - 1u) / QUERIES + 1u; // keys that any row needs

  var largest = vec4(-3.0e38);
  var weight = vec4(0.0);
  for (var start = 0u; start < length; start += KEYS) {
    let last = vec4(length - 1u);
    let t0 = min(start + vec4(0u, 1u, 2u, 3u), last);
    let t1 = min(start + vec4(4u, 5u, 6u, 7u), last);
    let t2 = min(start + vec4(8u, 9u, 10u, 11u), last);
    let t3 = min(start + vec4(12u, 13u, 14u, 15u), last);
    var s = Chunk();
    for (var part = 0u; part < HEAD_SIZE / 8u; part++) {
      let at = q_at + part * 2u;
      let low = transpose(mat4x4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]));
      let high = transpose(mat4x4(qkv[at.x + 1u], qkv[at.y + 1u], qkv[at.z + 1u], qkv[at.w + 1u]));
      let q = Queries(low, high);
      s = Chunk(
        add_keys(s.a, q, kv_head, t0, part), add_keys(s.b, q, kv_head, t1, part),
        add_keys(s.c, q, kv_head, t2, part), add_keys(s.d, q, kv_head, t3, part),
      );
    }
    s = Chunk(
      scores(s.a, kv_head, t0, start, limits), scores(s.b, kv_head, t1, start + 4u, limits),
      scores(s.c, kv_head, t2, start + 8u, limits), scores(s.d, kv_head, t3, start + 12u, limits),
    );
    let before = largest;
    largest = max(before, max(max(largest_of(s.a), largest_of(s.b)), max(largest_of(s.c), largest_of(s.d))));
    let p = Chunk(
      exponentials(s.a, largest), exponentials(s.b, largest), exponentials(s.c, largest), exponentials(s.d, largest),
    );
    var rescale = exp(before - largest);
    weight = weight * rescale + ((sum_of(p.a) + sum_of(p.b)) + (sum_of(p.c) + sum_of(p.d)));
    let norm = select(vec4(1.0), 1.0 / weight, start + KEYS >= length); // the last chunk divides all sums
    rescale *= norm;
    let pv = Chunk(
      scaled(p.a, kv_head, t0), scaled(p.b, kv_head, t1), scaled(p.c, kv_head, t2), scaled(p.d, kv_head, t3),
    );
    for (var quad = 0u; quad < HEAD_SIZE / 4u; quad++) {
      var sums = mat4x4<f32>();
      sums = add_values(sums, pv.a, kv_head, t0, quad);
      sums = add_values(sums, pv.b, kv_head, t1, quad);
      sums = add_values(sums, pv.c, kv_head, t2, quad);
      sums = add_values(sums, pv.d, kv_head, t3, quad);
      sums = mat4x4(sums[0] * norm.x, sums[1] * norm.y, sums[2] * norm.z, sums[3] * norm.w);
      let at = o_at + quad;
      if (start > 0u) {
        sums += mat4x4(o[at.x] * rescale.x, o[at.y] * rescale.y, o[at.z] * rescale.z, o[at.w] * rescale.w);
      }
      if (mine.x < rows) { o[at.x] = sums[0]; }
      if (mine.y < rows) { o[at.y] = sums[1]; }
      if (mine.z < rows) { o[at.z] = sums[2]; }
      if (mine.w < rows) { o[at.w] = sums[3]; }
    }
  }
}
