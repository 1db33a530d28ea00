// Codes of palettized weights, wherever their block keeps them. The kernel declares shape.
// #import lib/palette-weights
// The codes of 4 rows x 16 columns: the first or the second 16 of a step.
fn pairs_at(row: u32, step: u32, second: u32) -> CodePairs {
  let steps = shape.cols / 32u;
  let record = row / 16u * BLOCK_WORDS;
  let bits = blocks[record];
  let slot = row % 16u / 4u;
  let at0 = row / 4u * 2u * steps + step;
  let at1 = (blocks[record + 1u] / 4u + slot) * steps + step;
  let at2 = (blocks[record + 2u] / 4u + slot) * steps + step;
  if (bits == 4u) {
    if (second == 0u) {
      return CodePairs(plane0[at0], plane0[at0 + steps]);
    }
    return CodePairs(plane1[at1], plane2[at2]);
  }
  var middle = vec4(0u);
  if (bits == 3u) {
    middle = plane1[at1] >> vec4(second * 2u);
  }
  return pairs_of_planes(plane0[at0 + second * steps], middle, vec4(0u));
}
