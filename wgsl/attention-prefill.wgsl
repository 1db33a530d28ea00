// o[t, h] = sum_k p[k] v[k], p = softmax over keys k <= position + t of q[t, h] . k[k] / sqrt(d): causal, online softmax
//
// qkv f32 [T, STRIDE] with the rotated queries at 0 (rope-kv-write), the cache as in lib/kv-cache, o f32 [T, O_STRIDE].
// FlashAttention-2 (arXiv 2307.08691): keys and values pass through workgroup memory in tiles of KEYS, running maximum and
// sum per row. A workgroup is (ROWS query rows, kv head): its rows are tokens x query heads of that kv head, so a tile of
// keys serves all of them. 64 threads: 4 to a row, each with a quarter of the keys, then of the columns.
// #import lib/step-state
// #import lib/element
// #import lib/read-kv
override QUERIES: u32; // query heads of a kv head
override STRIDE: u32;
override O_STRIDE: u32;
override KEYS: u32;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<u32>;
@group(0) @binding(2) var<storage, read> v_cache: array<u32>;
@group(0) @binding(3) var<storage, read> kv_scales: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> state: StepState;
@group(0) @binding(5) var<storage, read_write> o: array<vec4<f32>>;

const THREADS = 64u;
const ROWS = 16u;
const PARTS = 4u; // threads to a row
override WORDS: u32 = HEAD_SIZE / 4u;
override QUERY_WORDS: u32 = ROWS * WORDS;
override ROW: u32 = WORDS + 1u; // of the tile: a bank further each key
override TILE_WORDS: u32 = KEYS * ROW;
override SCORES: u32 = ROWS * KEYS;
var<workgroup> query: array<element4, QUERY_WORDS>;
var<workgroup> tile: array<element4, TILE_WORDS>;
var<workgroup> scores: array<f32, SCORES>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let kv_head = workgroup.y;
  let first = workgroup.x * ROWS; // rows are token-major: row = t * QUERIES + query head within the kv head
  let rows = state.count * QUERIES;
  if (first >= rows) {
    return;
  }
  let r = thread / PARTS;
  let part = thread % PARTS;
  let my_token = min(first + r, rows - 1u) / QUERIES;
  let my_head = kv_head * QUERIES + (first + r) % QUERIES;
  let limit = state.position + my_token; // the last key this row may see
  let length = state.position + (min(first + ROWS, rows) - 1u) / QUERIES + 1u; // keys that any row needs

  for (var i = thread; i < ROWS * WORDS; i += THREADS) {
    let row = min(first + i / WORDS, rows - 1u);
    let at = (row / QUERIES * STRIDE + (kv_head * QUERIES + row % QUERIES) * HEAD_SIZE) / 4u + i % WORDS;
    query[i] = to_element4(qkv[at] * inverseSqrt(f32(HEAD_SIZE)));
  }

  var largest = -3.0e38;
  var weight = 0.0;
  var sum: array<vec4<f32>, 16>;
  for (var start = 0u; start < length; start += KEYS) {
    workgroupBarrier(); // queries are there; the previous values have been read
    for (var i = thread; i < KEYS * WORDS / 2u; i += THREADS) {
      let key = i % KEYS;
      let part = i / KEYS;
      let token = min(start + key, length - 1u);
      let k = read_key(kv_head, token, part) * key_scale(kv_head, token);
      tile[key * ROW + part * 2u] = to_element4(k[0]);
      tile[key * ROW + part * 2u + 1u] = to_element4(k[1]);
    }
    workgroupBarrier();
    for (var key = part; key < KEYS; key += PARTS) {
      var score = 0.0;
      for (var w = 0u; w < WORDS; w++) {
        score += dot(vec4<f32>(query[r * WORDS + w]), vec4<f32>(tile[key * ROW + w]));
      }
      scores[r * KEYS + key] = select(-3.0e38, score, start + key <= limit);
    }
    workgroupBarrier();
    var top = largest;
    for (var key = 0u; key < KEYS; key++) {
      top = max(top, scores[r * KEYS + key]);
    }
    let rescale = exp(largest - top);
    largest = top;
    workgroupBarrier(); // everyone has read the scores and the keys
    for (var key = part; key < KEYS; key += PARTS) {
      let seen = start + key <= limit;
      scores[r * KEYS + key] = select(0.0, exp(min(scores[r * KEYS + key] - top, 0.0)), seen);
    }
    for (var i = thread; i < KEYS * WORDS; i += THREADS) {
      let token = min(start + i / WORDS, length - 1u);
      tile[i / WORDS * ROW + i % WORDS] = to_element4(read_value(kv_head, token, i % WORDS) * value_scale(kv_head, token));
    }
    workgroupBarrier();
    weight *= rescale;
    for (var c = 0u; c < WORDS / PARTS; c++) {
      sum[c] *= rescale;
    }
    for (var key = 0u; key < KEYS; key++) {
      let p = scores[r * KEYS + key];
      weight += p;
      for (var c = 0u; c < WORDS / PARTS; c++) {
        sum[c] += p * vec4<f32>(tile[key * ROW + part + c * PARTS]);
      }
    }
  }

  if (first + r < rows) {
    for (var c = 0u; c < WORDS / PARTS; c++) {
      o[(my_token * O_STRIDE + my_head * HEAD_SIZE) / 4u + part + c * PARTS] = sum[c] / weight;
    }
  }
}
