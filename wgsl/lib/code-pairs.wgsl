// Pairs of codes of 4 rows x 16 columns, a byte each: byte i of `even` holds columns 4i and 4i + 1, of `odd` 4i + 2 and 4i + 3,
// the lower column in the lower nibble.
struct CodePairs {
  even: vec4<u32>,
  odd: vec4<u32>,
}

// Out of planes: 16 columns of a plane0 word, their bits of plane1 and plane2 at bits 0 and 1 of every nibble.
fn pairs_of_planes(top: vec4<u32>, middle: vec4<u32>, low: vec4<u32>) -> CodePairs {
  let even = nibbles(top, middle, low);
  let odd = nibbles(top >> vec4(2u), middle >> vec4(1u), low >> vec4(1u));
  return CodePairs(merge(0x0f0f0f0fu, even, odd << vec4(4u)), merge(0x0f0f0f0fu, even >> vec4(4u), odd));
}

// 16 columns of each plane: two bits a column in `top`, one at bits 0 and 1 of every nibble in `middle` and `low`.
struct CodePlanes {
  top: vec4<u32>,
  middle: vec4<u32>,
  low: vec4<u32>,
}

// The inverse of pairs_of_planes.
fn planes_of_pairs(pairs: CodePairs) -> CodePlanes {
  let even = merge(0x0f0f0f0fu, pairs.even, pairs.odd << vec4(4u));
  let odd = merge(0x0f0f0f0fu, pairs.even >> vec4(4u), pairs.odd);
  return CodePlanes(
    merge(0x33333333u, even >> vec4(2u), odd),
    merge(0x11111111u, even >> vec4(1u), odd) & vec4(0x33333333u),
    merge(0x11111111u, even, odd << vec4(1u)) & vec4(0x33333333u),
  );
}

// The codes of every second column, a nibble each. Masks come before shifts up: no bit may leave a nibble.
fn nibbles(top: vec4<u32>, middle: vec4<u32>, low: vec4<u32>) -> vec4<u32> {
  return ((top & vec4(0x33333333u)) << vec4(2u)) | ((middle & vec4(0x11111111u)) << vec4(1u)) | (low & vec4(0x11111111u));
}

// Bits of `a` where the mask is set, else of `b`: one instruction on AMD, in this form only.
fn merge(mask: u32, a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  return (a & vec4(mask)) | (b & vec4(~mask));
}
