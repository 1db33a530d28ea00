// Palettized rows times activations in int8 (lib/int8-x): steps of 32 columns, one block of 16 rows a workgroup. Palettes are
// rounded to int8, two entries are looked up at once, and 4 columns are multiplied at once. As lib/palette-rows else: a
// thread owns 4 rows, LANES threads share them.
//
// 16 columns are summed in integers, exactly, before the scale of x is applied; a token's sum is made the same way whatever
// TOKENS is, so it has the bits that it has alone.
// #import lib/palette-weights
// #import lib/pair-bytes
// #import lib/int8-palette
var<workgroup> pairs: array<u32, 256>; // two int8 entries in the lower half
alias TokenSums = array<vec4<f32>, 8>; // of 4 rows, for each token

// Makes the table of a block. Needs a barrier before use.
fn stage_palette(block: u32, thread: u32) {
  let packed = blocks[block * BLOCK_WORDS] == 4u;
  let largest = largest_entry(block);
  for (var i = thread; i < 256u; i += THREADS) {
    let codes = codes_of_byte(i, packed);
    pairs[i] = int8_entry(block, codes.x, largest) | (int8_entry(block, codes.y, largest) << 8u);
  }
}

// What 1 stands for in four rows from `row` (a multiple of 4) on.
fn row_steps(row: u32) -> vec4<f32> {
  return largest_entry(row / 16u) / 127.0 * row_scales(row);
}

// Columns 4i .. 4i + 3 of one row.
fn four_columns(even: u32, odd: u32, i: u32) -> u32 {
  return pairs[(even << (24u - i * 8u)) >> 24u] | (pairs[(odd << (24u - i * 8u)) >> 24u] << 16u);
}

fn words_at(codes: CodePairs, i: u32) -> vec4<u32> {
  return vec4(
    four_columns(codes.even.x, codes.odd.x, i), four_columns(codes.even.y, codes.odd.y, i),
    four_columns(codes.even.z, codes.odd.z, i), four_columns(codes.even.w, codes.odd.w, i),
  );
}

fn dot_word(words: vec4<u32>, v: u32) -> vec4<i32> {
  return vec4(dot4I8Packed(words.x, v), dot4I8Packed(words.y, v), dot4I8Packed(words.z, v), dot4I8Packed(words.w, v));
}

// Adds the products of 4 rows x 16 columns, which are the row's `part`.
fn add_codes(sums: ptr<function, TokenSums>, codes: CodePairs, part: u32) {
  let a = words_at(codes, 0u);
  let b = words_at(codes, 1u);
  let c = words_at(codes, 2u);
  let d = words_at(codes, 3u);
  for (var t = 0u; t < TOKENS; t++) {
    let start = x_row(t);
    let v = x[start + part];
    let scale = x_scales(start, part / 4u)[part % 4u];
    let sum = dot_word(a, v.x) + dot_word(b, v.y) + dot_word(c, v.z) + dot_word(d, v.w);
    (*sums)[t] = fma(vec4<f32>(sum), vec4(scale), (*sums)[t]);
  }
}

// Adds this lane's part of W x for 4 rows from `row` on, row_steps() not applied.
fn dot_rows(sums: ptr<function, TokenSums>, row: u32, lane: u32) {
  let record = row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let steps = COLS / 32u;
  let slot = row % 16u / 4u;
  let at0 = row / 4u * 2u * steps;
  let at1 = (blocks[record + 1u] / 4u + slot) * steps;
  let at2 = (blocks[record + 2u] / 4u + slot) * steps;
  if (bits == 4u) {
    for (var step = lane; step < steps; step += LANES) {
      add_codes(sums, CodePairs(plane0[at0 + step], plane0[at0 + steps + step]), step * 2u);
      add_codes(sums, CodePairs(plane1[at1 + step], plane2[at2 + step]), step * 2u + 1u);
    }
  } else if (bits == 3u) {
    for (var step = lane; step < steps; step += LANES) {
      let bit1 = plane1[at1 + step];
      add_codes(sums, plane_bytes(plane0[at0 + step], bit1), step * 2u);
      add_codes(sums, plane_bytes(plane0[at0 + steps + step], bit1 >> vec4(2u)), step * 2u + 1u);
    }
  } else {
    for (var step = lane; step < steps; step += LANES) {
      add_codes(sums, plane_bytes(plane0[at0 + step], vec4(0u)), step * 2u);
      add_codes(sums, plane_bytes(plane0[at0 + steps + step], vec4(0u)), step * 2u + 1u);
    }
  }
}
