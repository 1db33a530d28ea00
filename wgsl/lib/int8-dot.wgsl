// Rows of W in int8 (lib/int8-weights) times one row of x in int8 (lib/int8-x): whole rows, 4 a thread.
// A block of 16 rows is a workgroup of 4 threads, which on a software adapter run in step: barriers are cheap there, and a
// step of several tokens is several workgroups, each with the bits that it has alone.
const THREADS = 4u;

// 4 rows x 4 columns.
fn dot_word(words: vec4<u32>, v: u32) -> vec4<i32> {
  return vec4(dot4I8Packed(words.x, v), dot4I8Packed(words.y, v), dot4I8Packed(words.z, v), dot4I8Packed(words.w, v));
}

// 4 rows x 16 columns, from word `at` of the codes on.
fn dot_block(at: u32, v: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(
    dot_word(codes[at], v.x) + dot_word(codes[at + 1u], v.y) + dot_word(codes[at + 2u], v.z) + dot_word(codes[at + 3u], v.w)
  );
}

// W x for rows 4 quad .. 4 quad + 3, their scales applied; x starts at `start`.
fn dot_rows(quad: u32, start: u32) -> vec4<f32> {
  var sum = vec4(0.0);
  for (var group = 0u; group < COLS / 64u; group++) {
    let scale = x_scales(start, group);
    let first = start + group * 4u;
    let at = quad * (COLS / 4u) + group * 16u;
    sum += dot_block(at, x[first]) * scale.x + dot_block(at + 4u, x[first + 1u]) * scale.y
      + dot_block(at + 8u, x[first + 2u]) * scale.z + dot_block(at + 12u, x[first + 3u]) * scale.w;
  }
  return sum * scales[quad];
}
