// The common part of the prefill kernels: a tile of 64 tokens x 64 rows of W, 64 threads with 8 x 8 results each.
// A K_STEP-column slab of both operands is staged in workgroup memory, transposed so that the inner loop reads whole vec4s.
// A thread's rows are two quads 32 apart.
//
// The kernel declares x f32 [T, shape.stride] as vec4s, state and shape, and how a slab of W comes into w_tile:
// stage_weights(first_row, k, thread).
// #import lib/element
// #import lib/matmul-store

override K_STEP: u32; // 16, or 32 where workgroup memory allows

const THREADS = 64u;
const TILE = 64u;
override SLAB: u32 = K_STEP * TILE / 4u;
var<workgroup> w_tile: array<element4, SLAB>; // [column][row quad]
var<workgroup> x_tile: array<element4, SLAB>; // [column][token quad]

// Results of a thread: tokens 8 ty .. 8 ty + 7, rows 4 tx .. 4 tx + 3 of the tile (low) and the same + 32 (high).
struct TileSums {
  low: array<vec4<f32>, 8>,
  high: array<vec4<f32>, 8>,
}

// Thread = (token quad, column group): transposes 4 tokens x K_STEP/4 columns; tokens beyond the step are zero.
fn stage_tokens(first_token: u32, k: u32, thread: u32) {
  let quad = thread % 16u;
  let columns = K_STEP / 4u;
  let column = thread / 16u * columns;
  for (var c = 0u; c < columns; c += 4u) {
    var v: array<vec4<f32>, 4>;
    for (var i = 0u; i < 4u; i++) {
      let token = first_token + quad * 4u + i;
      v[i] = vec4(0.0);
      if (token < state.count) {
        v[i] = x[(token * shape.stride + k + column + c) / 4u];
      }
    }
    let at = (column + c) * 16u + quad;
    x_tile[at] = to_element4(vec4(v[0].x, v[1].x, v[2].x, v[3].x));
    x_tile[at + 16u] = to_element4(vec4(v[0].y, v[1].y, v[2].y, v[3].y));
    x_tile[at + 32u] = to_element4(vec4(v[0].z, v[1].z, v[2].z, v[3].z));
    x_tile[at + 48u] = to_element4(vec4(v[0].w, v[1].w, v[2].w, v[3].w));
  }
}

// W x of the tile. Call in uniform control flow.
fn multiply_tile(first_row: u32, first_token: u32, thread: u32) -> TileSums {
  let tx = thread % 8u;
  let ty = thread / 8u;
  let live = first_token + ty * 8u < state.count; // whole threads of padding tokens skip the arithmetic
  var sums: TileSums;
  for (var k = 0u; k < shape.cols; k += K_STEP) {
    workgroupBarrier(); // the previous slab has been read
    stage_weights(first_row, k, thread);
    stage_tokens(first_token, k, thread);
    workgroupBarrier();
    if (live) {
      for (var c = 0u; c < K_STEP; c++) {
        let a = vec4<f32>(x_tile[c * 16u + ty * 2u]);
        let b = vec4<f32>(x_tile[c * 16u + ty * 2u + 1u]);
        let low = vec4<f32>(w_tile[c * 16u + tx]);
        let high = vec4<f32>(w_tile[c * 16u + tx + 8u]);
        sums.low[0] += a.x * low;  sums.high[0] += a.x * high;
        sums.low[1] += a.y * low;  sums.high[1] += a.y * high;
        sums.low[2] += a.z * low;  sums.high[2] += a.z * high;
        sums.low[3] += a.w * low;  sums.high[3] += a.w * high;
        sums.low[4] += b.x * low;  sums.high[4] += b.x * high;
        sums.low[5] += b.y * low;  sums.high[5] += b.y * high;
        sums.low[6] += b.z * low;  sums.high[6] += b.z * high;
        sums.low[7] += b.w * low;  sums.high[7] += b.w * high;
      }
    }
  }
  return sums;
}
