// The common part of the prefill kernels that multiply integers: a tile of 64 tokens x 64 rows of W, 64 threads with 8 x 8
// results each, as in lib/matmul. A slab of 64 columns is staged in words of 4 columns (dot4I8Packed); 16 columns are summed
// exactly before the tokens' scales are applied.
//
// The kernel declares x8 int8 rows (lib/int8-row) as vec4<u32>s, state and shape, and how a slab of W comes into w_tile:
// stage_weights(first_row, k, thread).
// #import lib/matmul-store
const THREADS = 64u;
const TILE = 64u;
const SLAB = 64u;
var<workgroup> w_tile: array<vec4<u32>, 256>; // [column / 4][row quad]
var<workgroup> x_tile: array<vec4<u32>, 256>; // [column / 4][token quad]
var<workgroup> x_scales: array<vec4<f32>, 64>; // [column / 16][token quad]

// Results of a thread: tokens 8 ty .. 8 ty + 7, rows 4 tx .. 4 tx + 3 of the tile (low) and the same + 32 (high).
struct TileSums {
  low: array<vec4<f32>, 8>,
  high: array<vec4<f32>, 8>,
}

// Thread = (token quad, 16 columns): transposes words; tokens beyond the step are zero.
fn stage_tokens(first_token: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let block = thread / 16u;
  var words: array<vec4<u32>, 4>;
  var scales: vec4<f32>;
  for (var i = 0u; i < 4u; i++) {
    let token = first_token + quad * 4u + i;
    words[i] = vec4(0u);
    scales[i] = 0.0;
    if (token < state.count) {
      let row = token * (shape.cols / 16u + shape.cols / 64u);
      words[i] = x8[row + k / 16u + block];
      scales[i] = bitcast<f32>(x8[row + shape.cols / 16u + k / 64u][block]);
    }
  }
  let at = block * 64u + quad;
  x_tile[at] = vec4(words[0].x, words[1].x, words[2].x, words[3].x);
  x_tile[at + 16u] = vec4(words[0].y, words[1].y, words[2].y, words[3].y);
  x_tile[at + 32u] = vec4(words[0].z, words[1].z, words[2].z, words[3].z);
  x_tile[at + 48u] = vec4(words[0].w, words[1].w, words[2].w, words[3].w);
  x_scales[block * 16u + quad] = scales;
}

// 4 rows x 4 columns.
fn dot_word(words: vec4<u32>, v: u32) -> vec4<i32> {
  return vec4(dot4I8Packed(words.x, v), dot4I8Packed(words.y, v), dot4I8Packed(words.z, v), dot4I8Packed(words.w, v));
}

// Adds 16 columns' products of one row quad. Half of a thread's rows at a time: 8 x 8 integer sums beside 8 x 8 results
// would be more registers than a thread has.
fn add_block(before: array<vec4<f32>, 8>, block: u32, row_quad: u32, ty: u32) -> array<vec4<f32>, 8> {
  var s: array<vec4<i32>, 8>;
  for (var i = 0u; i < 4u; i++) {
    let at = (block * 4u + i) * 16u;
    let w = w_tile[at + row_quad];
    let a = x_tile[at + ty * 2u];
    let b = x_tile[at + ty * 2u + 1u];
    s[0] += dot_word(w, a.x);
    s[1] += dot_word(w, a.y);
    s[2] += dot_word(w, a.z);
    s[3] += dot_word(w, a.w);
    s[4] += dot_word(w, b.x);
    s[5] += dot_word(w, b.y);
    s[6] += dot_word(w, b.z);
    s[7] += dot_word(w, b.w);
  }
  let a = x_scales[block * 16u + ty * 2u];
  let b = x_scales[block * 16u + ty * 2u + 1u];
  return array(
    fma(vec4<f32>(s[0]), vec4(a.x), before[0]), fma(vec4<f32>(s[1]), vec4(a.y), before[1]),
    fma(vec4<f32>(s[2]), vec4(a.z), before[2]), fma(vec4<f32>(s[3]), vec4(a.w), before[3]),
    fma(vec4<f32>(s[4]), vec4(b.x), before[4]), fma(vec4<f32>(s[5]), vec4(b.y), before[5]),
    fma(vec4<f32>(s[6]), vec4(b.z), before[6]), fma(vec4<f32>(s[7]), vec4(b.w), before[7]),
  );
}

// W x of the tile, rows' scales not applied. Call in uniform control flow.
fn multiply_tile(first_row: u32, first_token: u32, thread: u32) -> TileSums {
  let tx = thread % 8u;
  let ty = thread / 8u;
  let live = first_token + ty * 8u < state.count; // whole threads of padding tokens skip the arithmetic
  var sums: TileSums;
  for (var k = 0u; k < shape.cols; k += SLAB) {
    workgroupBarrier(); // the previous slab has been read
    stage_weights(first_row, k, thread);
    stage_tokens(first_token, k, thread);
    workgroupBarrier();
    if (live) {
      for (var block = 0u; block < SLAB / 16u; block++) {
        sums.low = add_block(sums.low, block, tx, ty);
        sums.high = add_block(sums.high, block, tx + 8u, ty);
      }
    }
  }
  return sums;
}
