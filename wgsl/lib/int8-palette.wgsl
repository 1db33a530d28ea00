// A block's palette (lib/palette-weights) in int8: entry ~ largest_entry / 127 * int8.

fn largest_entry(block: u32) -> f32 {
  var largest = 0.0;
  for (var pair = 0u; pair < 8u; pair++) {
    let p = abs(palette_pair(block, pair));
    largest = max(largest, max(p.x, p.y));
  }
  return largest;
}

// Entry `code` of the block, in the lowest byte.
fn int8_entry(block: u32, code: u32, largest: f32) -> u32 {
  let entry = palette_pair(block, code / 2u)[code % 2u];
  return u32(i32(round(select(0.0, entry * 127.0 / largest, largest > 0.0)))) & 255u;
}
