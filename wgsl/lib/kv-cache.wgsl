// One layer's keys and values, each in 16, 8 or 4 bits: layouts and how codes become values.
//
// k_cache u32 [G, KEY_WORDS, MAX_TOKENS]: one word of adjacent tokens side by side, for threads that own a key each.
// v_cache u32 [G, MAX_TOKENS, VALUE_WORDS]: the words of a token side by side, for threads that own columns.
// A word holds 32 / bits adjacent columns: 16 bits, two f16, low half first; 8 bits, four codes, value = scale * code; 4 bits,
// eight codes, the low nibbles of the four bytes before the high ones, value = scale * (c + CUBE c^3), c = code - 7.5. Levels so
// spaced leave a sixth less squared error of a Gaussian's values than equal steps do, within 2 % of the best 16 levels for that
// (Lloyd-Max), and need no table.
// kv_scales vec2 [G, MAX_TOKENS] = (k, v) for a token and kv head; 8 bits have one scale, 4 bits two in f16, for each half of the
// columns one, low half first; 16 bits have none.
override K_BITS: u32;
override V_BITS: u32;
override MAX_TOKENS: u32;
override HEAD_SIZE: u32; // a multiple of 16
const CUBE = 0.005859375; // 3 / 512: every level is exact in f32
override KEY_WORDS: u32 = HEAD_SIZE * K_BITS / 32u;
override VALUE_WORDS: u32 = HEAD_SIZE * V_BITS / 32u;

fn halves(low: u32, high: u32) -> vec4<f32> {
  return vec4(unpack2x16float(low), unpack2x16float(high));
}

fn nibbles(word: u32) -> vec4<f32> {
  let c = vec4<f32>(unpack4xU8(word & 0x0f0f0f0fu)) - 7.5;
  return c * (c * c * CUBE + 1.0);
}

// Where word `word` of a token's key stands.
fn key_at(kv_head: u32, token: u32, word: u32) -> u32 {
  return (kv_head * KEY_WORDS + word) * MAX_TOKENS + token;
}

fn value_at(kv_head: u32, token: u32, word: u32) -> u32 {
  return (kv_head * MAX_TOKENS + token) * VALUE_WORDS + word;
}
