// q, k <- RoPE(q, k); cache[position] <- k, v in the cache's format
//
// qkv f32 [T, STRIDE]: H query heads at 0, G key heads at K_AT, G value heads at V_AT, each of d values; q is rotated in place.
// RoPE (arXiv 2104.09864) in Llama's half-split form: (a, b) = (v[i], v[i + d/2]) -> (a cos - b sin, b cos + a sin),
// from an f32 table cos_sin vec2 [positions, d/2] because sin and cos differ from driver to driver.
// With keys of 4 bits q and k also go through an orthonormal Walsh-Hadamard matrix in blocks of HADAMARD columns: q . k stays what
// it was, and no single column can be so large that the others lose their digits (QuaRot, arXiv 2404.00456). Values need no such
// care: a palettized model's are rotated in its weights.
// Codes of 8 bits: round_to_even(v * 127 / amax), scale = amax / 127; of 4: the nearest level to v / scale, and of 6 scales the one
// that leaves the least squared error of its half of the columns.
// Workgroups (H + 2G, T): one head of one token.
// #import lib/step-state
// #import lib/kv-cache
override THREADS: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HALF: u32; // HEAD_SIZE / 2
override STRIDE: u32;
override K_AT: u32;
override V_AT: u32;
override HADAMARD: u32; // a power of two; 1: none

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> cos_sin: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(5) var<storage, read_write> kv_scales: array<f32>;

const CANDIDATES = 6u;
const FIRST = 21u; // of 256 parts of the largest column: its level is then 12.2; with the last, 26, it is 9.8
var<workgroup> values: array<f32, HEAD_SIZE>;
var<workgroup> errors: array<f32, 2u * CANDIDATES>; // of both halves with each candidate

// The fast Walsh-Hadamard transform of the head's blocks, in place, without its factor of 1 / sqrt(HADAMARD).
fn hadamard(thread: u32) {
  for (var span = 1u; span < HADAMARD; span *= 2u) {
    for (var i = thread; i < HALF; i += THREADS) {
      let at = i / span * 2u * span + i % span;
      let a = values[at];
      let b = values[at + span];
      values[at] = a + b;
      values[at + span] = a - b;
    }
    workgroupBarrier();
  }
}

fn four(at: u32) -> vec4<f32> {
  return vec4(values[at], values[at + 1u], values[at + 2u], values[at + 3u]);
}

// Codes of 4 bits. The border after the k-th level on either side of 0 is the middle of it and the next.
fn nearest(v: vec4<f32>) -> vec4<u32> {
  var passed = vec4(0u);
  for (var k = 1.0; k < 8.0; k += 1.0) {
    passed += select(vec4(0u), vec4(1u), abs(v) >= vec4(k * (1.0 + CUBE * (k * k + 0.75))));
  }
  return select(8u + passed, 7u - passed, v < vec4(0.0));
}

fn level(code: vec4<u32>) -> vec4<f32> {
  let c = vec4<f32>(code) - 7.5;
  return c * (c * c * CUBE + 1.0);
}

fn inverse(scale: f32) -> f32 {
  return select(0.0, 1.0 / scale, scale > 0.0);
}

// A scale to try for a half whose largest column is `largest`: cut to what an f16 holds, whichever way packing would round.
fn scale_of(largest: f32, candidate: u32) -> f32 {
  return bitcast<f32>(bitcast<u32>(largest * f32(FIRST + candidate) / 256.0) & 0xffffe000u);
}

fn largest_of(start: u32, end: u32) -> f32 {
  var largest = 0.0;
  for (var i = start; i < end; i++) {
    largest = max(largest, abs(values[i]));
  }
  return largest;
}

fn squared_error(half: u32, scale: f32) -> f32 {
  let to_code = inverse(scale);
  var sum = 0.0;
  for (var at = half * HALF; at < (half + 1u) * HALF; at += 4u) {
    let v = four(at);
    let rest = v - level(nearest(v * to_code)) * scale;
    sum += dot(rest, rest);
  }
  return sum;
}

// Of 4 bits: the best scales of both halves.
fn choose_scales(thread: u32) -> vec2<f32> {
  for (var i = thread; i < 2u * CANDIDATES; i += THREADS) {
    let half = i / CANDIDATES;
    errors[i] = squared_error(half, scale_of(largest_of(half * HALF, (half + 1u) * HALF), i % CANDIDATES));
  }
  workgroupBarrier();
  var best = vec2(0u);
  for (var candidate = 1u; candidate < CANDIDATES; candidate++) {
    best.x = select(best.x, candidate, errors[candidate] < errors[best.x]);
    best.y = select(best.y, candidate, errors[CANDIDATES + candidate] < errors[CANDIDATES + best.y]);
  }
  return vec2(scale_of(largest_of(0u, HALF), best.x), scale_of(largest_of(HALF, HEAD_SIZE), best.y));
}

// Word `word` of the head in `bits` bits; `scales` of its halves.
fn pack(bits: u32, word: u32, scales: vec2<f32>, largest: f32) -> u32 {
  if (bits == 16u) {
    return pack2x16float(vec2(values[2u * word], values[2u * word + 1u]));
  }
  if (bits == 8u) {
    let to_code = select(0.0, 127.0 / largest, largest > 0.0);
    return pack4xI8(vec4<i32>(round(four(4u * word) * to_code)));
  }
  let to_code = inverse(select(scales.x, scales.y, 8u * word >= HALF));
  let low = nearest(four(8u * word) * to_code);
  let high = nearest(four(8u * word + 4u) * to_code);
  return pack4xU8(low) | (pack4xU8(high) << 4u);
}

@compute @workgroup_size(THREADS)
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

  for (var i = thread; i < HALF; i += THREADS) {
    var v = vec2(qkv[start + i], qkv[start + HALF + i]);
    if (!is_value) {
      let turn = cos_sin[position * HALF + i];
      v = vec2(v.x * turn.x - v.y * turn.y, v.y * turn.x + v.x * turn.y);
      if (HADAMARD > 1u) {
        v *= inverseSqrt(f32(HADAMARD));
      }
    }
    values[i] = v.x;
    values[i + HALF] = v.y;
  }
  workgroupBarrier();
  if (!is_value) {
    hadamard(thread);
  }
  if (is_query) {
    for (var i = thread; i < HEAD_SIZE; i += THREADS) {
      qkv[start + i] = values[i];
    }
    return;
  }

  let bits = select(K_BITS, V_BITS, is_value);
  let largest = largest_of(0u, HEAD_SIZE);
  var scales = vec2(0.0);
  if (bits == 4u) {
    scales = choose_scales(thread);
  }
  if (is_value) {
    for (var word = thread; word < VALUE_WORDS; word += THREADS) {
      v_cache[value_at(kv_head, position, word)] = pack(V_BITS, word, scales, largest);
    }
  } else {
    for (var word = thread; word < KEY_WORDS; word += THREADS) {
      k_cache[key_at(kv_head, position, word)] = pack(K_BITS, word, scales, largest);
    }
  }
  if (thread == 0u && bits != 16u) {
    let scale = select(largest / 127.0, bitcast<f32>(pack2x16float(scales)), bits == 4u);
    kv_scales[(kv_head * MAX_TOKENS + position) * 2u + select(0u, 1u, is_value)] = scale;
  }
}
