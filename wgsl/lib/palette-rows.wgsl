// Palettized rows for lib/matvec: steps of 32 columns. A slot's 4 rows belong to one block.
// Two codes are looked up at once, in a table of 256 pairs of f16 entries for each block (as FLUTE, arXiv 2407.10960, does).
// #import lib/palette-weights
override ONE_BLOCK: bool = SLOTS == 4u;
var<workgroup> pairs: array<u32, 256>; // two f16 entries each
var<workgroup> entries: array<f32, SLOTS * 4u>;

// Makes the tables of the workgroup's blocks from `first_row` on. Needs a barrier before use.
fn stage_palettes(first_row: u32, thread: u32) {
  if (ONE_BLOCK) {
    let block = first_row / 16u;
    for (var i = thread; i < 256u; i += THREADS) {
      let low = entry_bits(block, ((i & 3u) << 2u) | ((i >> 3u) & 2u) | ((i >> 6u) & 1u));
      let high = entry_bits(block, (i & 12u) | ((i >> 4u) & 2u) | ((i >> 7u) & 1u));
      pairs[i] = low | (high << 16u);
    }
  } else {
    for (var i = thread; i < SLOTS * 2u; i += THREADS) {
      let pair = palette_pair(first_row / 16u + i / 8u, i % 8u);
      entries[i * 2u] = pair.x;
      entries[i * 2u + 1u] = pair.y;
    }
  }
}

fn pair_at(codes: u32, shift: u32) -> vec2<f32> {
  return unpack2x16float(pairs[(codes >> shift) & 255u]);
}

fn add_products(sum: f32, even: u32, odd: u32, shift: u32, v: vec4<f32>) -> f32 {
  let p = pair_at(even, shift);
  let q = pair_at(odd, shift);
  return fma(q.y, v.w, fma(q.x, v.z, fma(p.y, v.y, fma(p.x, v.x, sum))));
}

// Adds the products of 4 rows x 16 columns; `at` is the first of x.
fn add_word(before: vec4<f32>, codes: CodePairs, at: u32) -> vec4<f32> {
  var sum = before;
  for (var i = 0u; i < 4u; i++) {
    let v = x[at + i];
    sum = vec4(
      add_products(sum.x, codes.even.x, codes.odd.x, i * 8u, v),
      add_products(sum.y, codes.even.y, codes.odd.y, i * 8u, v),
      add_products(sum.z, codes.even.z, codes.odd.z, i * 8u, v),
      add_products(sum.w, codes.even.w, codes.odd.w, i * 8u, v),
    );
  }
  return sum;
}

// This lane's part of W x for 4 rows from `row` on, row scales not applied.
fn dot_rows(row: u32, first_row: u32, lane: u32) -> vec4<f32> {
  if (ONE_BLOCK) {
    return dot_rows_by_pairs(row, first_row, lane);
  }
  return dot_rows_by_entries(row, first_row, lane);
}

// One block a workgroup: its width is the same for all threads.
fn dot_rows_by_pairs(row: u32, first_row: u32, lane: u32) -> vec4<f32> {
  let record = first_row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let steps = COLS / 32u;
  let slot = row % 16u / 4u;
  let at0 = row / 4u * 2u * steps;
  let at1 = (blocks[record + 1u] / 4u + slot) * steps;
  let at2 = (blocks[record + 2u] / 4u + slot) * steps;
  var sum = vec4(0.0);
  if (bits == 4u) {
    for (var step = lane; step < steps; step += LANES) {
      let first = plane0[at0 + step];
      let second = plane0[at0 + steps + step];
      let bit1 = plane1[at1 + step];
      let bit0 = plane2[at2 + step];
      sum = add_word(sum, code_pairs(first, below_first(bit1, bit0)), step * 8u);
      sum = add_word(sum, code_pairs(second, below_second(bit1, bit0)), step * 8u + 4u);
    }
  } else if (bits == 3u) {
    for (var step = lane; step < steps; step += LANES) {
      let first = plane0[at0 + step];
      let second = plane0[at0 + steps + step];
      let bit1 = plane1[at1 + step];
      sum = add_word(sum, code_pairs(first, bit1 & vec4(0x33333333u)), step * 8u);
      sum = add_word(sum, code_pairs(second, (bit1 >> vec4(2u)) & vec4(0x33333333u)), step * 8u + 4u);
    }
  } else {
    for (var step = lane; step < steps; step += LANES) {
      sum = add_word(sum, code_pairs(plane0[at0 + step], vec4(0u)), step * 8u);
      sum = add_word(sum, code_pairs(plane0[at0 + steps + step], vec4(0u)), step * 8u + 4u);
    }
  }
  return sum;
}

// Several blocks a workgroup (software adapters, where two look-ups cost less than one of a pair).
fn dot_rows_by_entries(row: u32, first_row: u32, lane: u32) -> vec4<f32> {
  let record = row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let steps = COLS / 32u;
  let slot = row % 16u / 4u;
  let at1 = (blocks[record + 1u] / 4u + slot) * steps;
  let at2 = (blocks[record + 2u] / 4u + slot) * steps;
  let table = (row - first_row) / 16u * 16u;
  var sum = vec4(0.0);
  for (var step = lane; step < steps; step += LANES) {
    var bit1 = vec4(0u);
    var bit0 = vec4(0u);
    if (bits >= 3u) {
      bit1 = plane1[at1 + step];
    }
    if (bits >= 4u) {
      bit0 = plane2[at2 + step];
    }
    for (var word = 0u; word < 2u; word++) {
      let top = plane0[(row / 4u * 2u + word) * steps + step];
      let middle = bit1 >> vec4(word * 2u);
      let low = bit0 >> vec4(word * 2u);
      let even = nibbles(top, middle, low);
      let odd = nibbles(top >> vec4(2u), middle >> vec4(1u), low >> vec4(1u));
      for (var i = 0u; i < 4u; i++) {
        let v = x[step * 8u + word * 4u + i];
        sum += entries_at(table, even >> vec4(i * 8u)) * v.x + entries_at(table, odd >> vec4(i * 8u)) * v.y
          + entries_at(table, even >> vec4(i * 8u + 4u)) * v.z + entries_at(table, odd >> vec4(i * 8u + 4u)) * v.w;
      }
    }
  }
  return sum;
}

fn nibbles(top: vec4<u32>, middle: vec4<u32>, low: vec4<u32>) -> vec4<u32> {
  return ((top & vec4(0x33333333u)) << vec4(2u)) | ((middle & vec4(0x11111111u)) << vec4(1u)) | (low & vec4(0x11111111u));
}

fn entries_at(table: u32, codes: vec4<u32>) -> vec4<f32> {
  let c = codes & vec4(15u);
  return vec4(entries[table + c.x], entries[table + c.y], entries[table + c.z], entries[table + c.w]);
}
