// Reads what rope-kv-write wrote. The shader binds k_cache, v_cache: array<u32> and kv_scales: array<vec2<f32>>.
// #import lib/kv-cache

// The scale of 4 bits for column `column`.
fn half_scale(scales: f32, column: u32) -> f32 {
  let both = unpack2x16float(bitcast<u32>(scales));
  return select(both.x, both.y, column >= HEAD_SIZE / 2u);
}

// Columns 8 part .. 8 part + 7 of a key, without the scale that key_scale gives.
fn read_key(kv_head: u32, token: u32, part: u32) -> mat2x4<f32> {
  if (K_BITS == 4u) {
    let word = k_cache[key_at(kv_head, token, part)];
    return mat2x4(nibbles(word), nibbles(word >> 4u)) * half_scale(kv_scales[kv_head * MAX_TOKENS + token].x, part * 8u);
  }
  if (K_BITS == 8u) {
    let at = key_at(kv_head, token, part * 2u);
    return mat2x4(vec4<f32>(unpack4xI8(k_cache[at])), vec4<f32>(unpack4xI8(k_cache[at + MAX_TOKENS])));
  }
  let at = key_at(kv_head, token, part * 4u);
  return mat2x4(
    halves(k_cache[at], k_cache[at + MAX_TOKENS]),
    halves(k_cache[at + 2u * MAX_TOKENS], k_cache[at + 3u * MAX_TOKENS]),
  );
}

// Columns 4 quad .. 4 quad + 3 of a value, without the scale that value_scale gives.
fn read_value(kv_head: u32, token: u32, quad: u32) -> vec4<f32> {
  if (V_BITS == 4u) {
    let v = nibbles(v_cache[value_at(kv_head, token, quad / 2u)] >> (quad % 2u * 4u));
    return v * half_scale(kv_scales[kv_head * MAX_TOKENS + token].y, quad * 4u);
  }
  if (V_BITS == 8u) {
    return vec4<f32>(unpack4xI8(v_cache[value_at(kv_head, token, quad)]));
  }
  let at = value_at(kv_head, token, quad * 2u);
  return halves(v_cache[at], v_cache[at + 1u]);
}

fn key_scale(kv_head: u32, token: u32) -> f32 {
  if (K_BITS != 8u) {
    return 1.0;
  }
  return kv_scales[kv_head * MAX_TOKENS + token].x;
}

fn value_scale(kv_head: u32, token: u32) -> f32 {
  if (V_BITS != 8u) {
    return 1.0;
  }
  return kv_scales[kv_head * MAX_TOKENS + token].y;
}
