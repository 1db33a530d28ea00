// Whole numbers of 64 bits in two words, low word first, two's complement where they have a sign.
fn add_wide(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2(low, a.y + b.y + u32(low < a.x));
}

fn negate_wide(a: vec2<u32>) -> vec2<u32> {
  return vec2(~a.x + 1u, ~a.y + u32(a.x == 0u));
}

fn is_negative(a: vec2<u32>) -> bool {
  return a.y >= 0x80000000u;
}

fn abs_wide(a: vec2<u32>) -> vec2<u32> {
  return select(a, negate_wide(a), is_negative(a));
}

fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let one = (a >> 16u) * (b & 0xffffu);
  let other = (a & 0xffffu) * (b >> 16u);
  let middle = (low >> 16u) + (one & 0xffffu) + (other & 0xffffu);
  return vec2((low & 0xffffu) | (middle << 16u), (a >> 16u) * (b >> 16u) + (one >> 16u) + (other >> 16u) + (middle >> 16u));
}

// By 0 to 31 bits.
fn shift_left_wide(a: vec2<u32>, bits: u32) -> vec2<u32> {
  return vec2(a.x << bits, (a.y << bits) | ((a.x >> 1u) >> (31u - bits)));
}

fn shift_right_wide(a: vec2<u32>, bits: u32) -> vec2<u32> {
  return vec2((a.x >> bits) | ((a.y << 1u) << (31u - bits)), a.y >> bits);
}

fn bit_length_wide(a: vec2<u32>) -> u32 {
  return select(32u - countLeadingZeros(a.x), 64u - countLeadingZeros(a.y), a.y > 0u);
}

// floor(a / divisor), bit by bit; the divisor is above a.y and below 2^31.
fn divide_wide(a: vec2<u32>, divisor: u32) -> u32 {
  var rest = a.y;
  var quotient = 0u;
  for (var bit = 0u; bit < 32u; bit++) {
    rest = (rest << 1u) | ((a.x >> (31u - bit)) & 1u);
    quotient <<= 1u;
    if (rest >= divisor) {
      rest -= divisor;
      quotient |= 1u;
    }
  }
  return quotient;
}
