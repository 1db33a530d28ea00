// Rows of activations in int8, for the kernels that multiply integers (dot4I8Packed): value = scale * code.
//
// A row of ROW8_COLS values (padded to a multiple of 64) is ROW8_COLS/4 words of 4 codes, lowest byte first, then
// ROW8_COLS/16 f32 scales, one for each 16 columns. Readers bind it as vec4<u32>s: ROW8_COLS/16 of codes, ROW8_COLS/64 of scales.
// scale = max |value| / 127 of the 16; code = value / scale to the nearest, ties to even; 16 zeros have scale 0.
// Blocks of 16 because that is what one workgroup of a decode kernel makes: no scale ever waits for another workgroup.
//
// To write rows, a kernel declares `row8: array<u32>`. A thread that holds 4 adjacent values, `column` a multiple of 4:
//   write_int8(t, column, values, largest)   where it knows the largest magnitude of its 16 columns; else
//   share_magnitude(quad, values); workgroupBarrier(); write_int8(t, column, values, shared_magnitude(quad));
// where `quad` < ROW8_QUADS numbers the workgroup's groups of 4 values, and quads 4i .. 4i + 3 are the same 16 columns.
// Columns that nobody writes stay zero as the buffer was made: code 0, scale 0.
override ROW8_COLS: u32 = 64u;
override ROW8_QUADS: u32 = 4u; // a multiple of 4
var<workgroup> magnitudes: array<f32, ROW8_QUADS>;

fn magnitude(v: vec4<f32>) -> f32 {
  let a = abs(v);
  return max(max(a.x, a.y), max(a.z, a.w));
}

fn share_magnitude(quad: u32, v: vec4<f32>) {
  magnitudes[quad] = magnitude(v);
}

fn shared_magnitude(quad: u32) -> f32 {
  let i = quad / 4u * 4u;
  return max(max(magnitudes[i], magnitudes[i + 1u]), max(magnitudes[i + 2u], magnitudes[i + 3u]));
}

// Codes of a value of 1, in a block whose largest magnitude this is.
fn int8_steps(largest: f32) -> f32 {
  return select(0.0, 127.0 / largest, largest > 1.0e-30);
}

// Row `t`, columns column .. column + 3; the first of a block's four writes its scale too.
fn write_int8(t: u32, column: u32, v: vec4<f32>, largest: f32) {
  let start = t * (ROW8_COLS / 4u + ROW8_COLS / 16u);
  row8[start + column / 4u] = pack4xI8(vec4<i32>(round(v * int8_steps(largest))));
  if (column % 16u == 0u) {
    row8[start + ROW8_COLS / 4u + column / 16u] = bitcast<u32>(largest / 127.0);
  }
}
