// Palettized rows for lib/matvec: steps of 32 columns. A slot's 4 rows belong to one block.
// Two codes are looked up at once, in a table of 256 pairs of palette entries (as FLUTE, arXiv 2407.10960, does).
// #import lib/palette-weights
// #import lib/pair-bytes
// #import lib/few-tokens
override ONE_BLOCK: bool = SLOTS == 4u;
override F32_PAIRS: bool; // for GPUs that cannot multiply-add halves into f32
override PAIRS: u32 = select(256u, 1u, F32_PAIRS);
override PAIRS_F32: u32 = select(1u, 256u, F32_PAIRS);
var<workgroup> pairs: array<u32, PAIRS>; // two f16 entries each
var<workgroup> pairs_f32: array<vec2<f32>, PAIRS_F32>;
override ENTRIES: u32 = SLOTS * 4u;
var<workgroup> entries: array<f32, ENTRIES>;

// Makes the tables of the workgroup's blocks from `first_row` on. Needs a barrier before use.
fn stage_palettes(first_row: u32, thread: u32) {
  if (ONE_BLOCK) {
    let block = first_row / 16u;
    let packed = blocks[block * BLOCK_WORDS] == 4u;
    for (var i = thread; i < 256u; i += THREADS) {
      let codes = codes_of_byte(i, packed);
      let halves = entry_bits(block, codes.x) | (entry_bits(block, codes.y) << 16u);
      if (F32_PAIRS) {
        pairs_f32[i] = unpack2x16float(halves);
      } else {
        pairs[i] = halves;
      }
    }
  } else {
    for (var i = thread; i < SLOTS * 2u; i += THREADS) {
      let pair = palette_pair(first_row / 16u + i / 8u, i % 8u);
      entries[i * 2u] = pair.x;
      entries[i * 2u + 1u] = pair.y;
    }
  }
}

// The entries of byte `i` of `codes`.
fn pair_at(codes: u32, i: u32) -> vec2<f32> {
  let pair = (codes >> (i * 8u)) & 255u;
  if (F32_PAIRS) {
    return pairs_f32[pair];
  }
  return unpack2x16float(pairs[pair]);
}

fn columns_of_pairs(codes: CodePairs, i: u32) -> mat4x4<f32> {
  let even0 = pair_at(codes.even.x, i);
  let even1 = pair_at(codes.even.y, i);
  let even2 = pair_at(codes.even.z, i);
  let even3 = pair_at(codes.even.w, i);
  let odd0 = pair_at(codes.odd.x, i);
  let odd1 = pair_at(codes.odd.y, i);
  let odd2 = pair_at(codes.odd.z, i);
  let odd3 = pair_at(codes.odd.w, i);
  return mat4x4(
    vec4(even0.x, even1.x, even2.x, even3.x), vec4(even0.y, even1.y, even2.y, even3.y),
    vec4(odd0.x, odd1.x, odd2.x, odd3.x), vec4(odd0.y, odd1.y, odd2.y, odd3.y),
  );
}

// Adds the products of 4 rows x 16 columns; `at` is the first of x.
fn add_pairs(sums: ptr<function, TokenSums>, codes: CodePairs, at: u32) {
  for (var i = 0u; i < 4u; i++) {
    add_columns(sums, columns_of_pairs(codes, i), at + i);
  }
}

// Adds this lane's part of W x for 4 rows from `row` on, row scales not applied.
fn dot_rows(sums: ptr<function, TokenSums>, row: u32, first_row: u32, lane: u32) {
  if (ONE_BLOCK) {
    dot_rows_by_pairs(sums, row, first_row, lane);
  } else {
    dot_rows_by_entries(sums, row, first_row, lane);
  }
}

// One block a workgroup: its width is the same for all threads.
fn dot_rows_by_pairs(sums: ptr<function, TokenSums>, row: u32, first_row: u32, lane: u32) {
  let record = first_row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let steps = COLS / 32u;
  let slot = row % 16u / 4u;
  let at0 = row / 4u * 2u * steps;
  let at1 = (blocks[record + 1u] / 4u + slot) * steps;
  let at2 = (blocks[record + 2u] / 4u + slot) * steps;
  if (bits == 4u) {
    for (var step = lane; step < steps; step += LANES) {
      add_pairs(sums, CodePairs(plane0[at0 + step], plane0[at0 + steps + step]), step * 8u);
      add_pairs(sums, CodePairs(plane1[at1 + step], plane2[at2 + step]), step * 8u + 4u);
    }
  } else if (bits == 3u) {
    for (var step = lane; step < steps; step += LANES) {
      let bit1 = plane1[at1 + step];
      add_pairs(sums, plane_bytes(plane0[at0 + step], bit1), step * 8u);
      add_pairs(sums, plane_bytes(plane0[at0 + steps + step], bit1 >> vec4(2u)), step * 8u + 4u);
    }
  } else {
    for (var step = lane; step < steps; step += LANES) {
      add_pairs(sums, plane_bytes(plane0[at0 + step], vec4(0u)), step * 8u);
      add_pairs(sums, plane_bytes(plane0[at0 + steps + step], vec4(0u)), step * 8u + 4u);
    }
  }
}

// Several blocks a workgroup (software adapters, where two look-ups cost less than one of a pair).
fn dot_rows_by_entries(sums: ptr<function, TokenSums>, row: u32, first_row: u32, lane: u32) {
  let record = row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let steps = COLS / 32u;
  let slot = row % 16u / 4u;
  let at0 = row / 4u * 2u * steps;
  let at1 = (blocks[record + 1u] / 4u + slot) * steps;
  let at2 = (blocks[record + 2u] / 4u + slot) * steps;
  let table = (row - first_row) / 16u * 16u;
  for (var step = lane; step < steps; step += LANES) {
    let word0 = plane0[at0 + step];
    let word1 = plane0[at0 + steps + step];
    if (bits == 4u) {
      add_entries(sums, table, CodePairs(word0, word1), step * 8u);
      add_entries(sums, table, CodePairs(plane1[at1 + step], plane2[at2 + step]), step * 8u + 4u);
    } else {
      var bit1 = vec4(0u);
      if (bits == 3u) {
        bit1 = plane1[at1 + step];
      }
      add_entries(sums, table, pairs_of_planes(word0, bit1, vec4(0u)), step * 8u);
      add_entries(sums, table, pairs_of_planes(word1, bit1 >> vec4(2u), vec4(0u)), step * 8u + 4u);
    }
  }
}

fn add_entries(sums: ptr<function, TokenSums>, table: u32, codes: CodePairs, at: u32) {
  for (var i = 0u; i < 4u; i++) {
    let even = codes.even >> vec4(i * 8u);
    let odd = codes.odd >> vec4(i * 8u);
    let columns = mat4x4(
      entries_at(table, even), entries_at(table, even >> vec4(4u)),
      entries_at(table, odd), entries_at(table, odd >> vec4(4u)),
    );
    add_columns(sums, columns, at + i);
  }
}

fn entries_at(table: u32, codes: vec4<u32>) -> vec4<f32> {
  let c = codes & vec4(15u);
  return vec4(entries[table + c.x], entries[table + c.y], entries[table + c.z], entries[table + c.w]);
}
