// Reads what rope-kv-write wrote. The shader binds k_cache, v_cache: array<u32> and kv_scales: array<vec2<f32>>.
// #import lib/kv-cache

// Columns 8 part .. 8 part + 7 of a key, unscaled.
fn read_key(kv_head: u32, token: u32, part: u32) -> mat2x4<f32> {
  if (K_BITS == 4u) {
    let word = k_cache[key_at(kv_head, token, part)];
    return mat2x4(nibbles(word), nibbles(word >> 4u));
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

// Columns 4 quad .. 4 quad + 3 of a value, unscaled.
fn read_value(kv_head: u32, token: u32, quad: u32) -> vec4<f32> {
  if (V_BITS == 4u) {
    return nibbles(v_cache[value_at(kv_head, token, quad / 2u)] >> (quad % 2u * 4u));
  }
  if (V_BITS == 8u) {
    return vec4<f32>(unpack4xI8(v_cache[value_at(kv_head, token, quad)]));
  }
  let at = value_at(kv_head, token, quad * 2u);
  return halves(v_cache[at], v_cache[at + 1u]);
}

fn key_scale(kv_head: u32, token: u32) -> f32 {
  if (K_BITS == 16u) {
    return 1.0;
  }
  return kv_scales[kv_head * MAX_TOKENS + token].x;
}

fn value_scale(kv_head: u32, token: u32) -> f32 {
  if (V_BITS == 16u) {
    return 1.0;
  }
  return kv_scales[kv_head * MAX_TOKENS + token].y;
}
