// Palettized rows for lib/matvec: steps of 32 columns. A slot's 4 rows belong to one block.
// #import lib/palette-weights
var<workgroup> palette: array<f32, SLOTS * 4u>;

// Stages the palettes of the workgroup's blocks from `first_row` on. Needs a barrier before use.
fn stage_palettes(first_row: u32, thread: u32) {
  for (var pair = thread; pair < SLOTS * 2u; pair += THREADS) {
    let entries = palette_pair(first_row / 16u + pair / 8u, pair % 8u);
    palette[pair * 2u] = entries.x;
    palette[pair * 2u + 1u] = entries.y;
  }
}

// Palette entries of 4 columns: nibbles at `shift` and `shift + 4` of the even and odd codes.
fn entries_at(table: u32, codes: vec2<u32>, shift: u32) -> vec4<f32> {
  let c = codes >> vec2(shift);
  return vec4(
    palette[table + (c.x & 15u)], palette[table + (c.y & 15u)],
    palette[table + ((c.x >> 4u) & 15u)], palette[table + ((c.y >> 4u) & 15u)],
  );
}

// This lane's part of W x for 4 rows from `row` on, row scales not applied.
fn dot_rows(row: u32, first_row: u32, lane: u32) -> vec4<f32> {
  // One block a workgroup: the table's base is a constant.
  let table = select((row - first_row) / 16u * 16u, 0u, SLOTS == 4u);
  var sum = vec4(0.0);
  for (var step = lane; step < COLS / 32u; step += LANES) {
    let c0 = codes_of_step(row, step, COLS);
    let c1 = codes_of_step(row + 1u, step, COLS);
    let c2 = codes_of_step(row + 2u, step, COLS);
    let c3 = codes_of_step(row + 3u, step, COLS);
    for (var i = 0u; i < 4u; i++) {
      let v = x[step * 8u + i];
      sum += vec4(
        dot(entries_at(table, c0.xy, i * 8u), v), dot(entries_at(table, c1.xy, i * 8u), v),
        dot(entries_at(table, c2.xy, i * 8u), v), dot(entries_at(table, c3.xy, i * 8u), v),
      );
    }
    for (var i = 0u; i < 4u; i++) {
      let v = x[step * 8u + 4u + i];
      sum += vec4(
        dot(entries_at(table, c0.zw, i * 8u), v), dot(entries_at(table, c1.zw, i * 8u), v),
        dot(entries_at(table, c2.zw, i * 8u), v), dot(entries_at(table, c3.zw, i * 8u), v),
      );
    }
  }
  return sum;
}
