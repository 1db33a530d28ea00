// Bytes that stand for pairs of codes, as tables of 256 pairs are indexed by: of packed blocks those that are stored
// (lib/palette-weights), of blocks in planes others, cheaper to make, since a table can be in any order.

// Pairs of a block in planes, at most 3 bits. Bits of a byte: 0-1 and 2-3 what plane0 says of the two columns, 4 and 5 what
// plane1 says, 6 and 7 zero.
fn plane_bytes(top: vec4<u32>, bit1: vec4<u32>) -> CodePairs {
  let below = bit1 & vec4(0x33333333u);
  return CodePairs(merge(0x0f0f0f0fu, top, below << vec4(4u)), merge(0x0f0f0f0fu, top >> vec4(4u), below));
}

// The two codes that a byte stands for, of a packed block or of one in planes.
fn codes_of_byte(i: u32, packed: bool) -> vec2<u32> {
  let low = select(((i & 3u) << 2u) | ((i >> 3u) & 2u) | ((i >> 6u) & 1u), i & 15u, packed);
  let high = select((i & 12u) | ((i >> 4u) & 2u) | ((i >> 7u) & 1u), i >> 4u, packed);
  return vec2(low, high);
}
