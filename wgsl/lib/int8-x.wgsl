// Activations in int8 (lib/int8-row) as decode kernels read them, and the RMSNorm of a row in front.
// The kernel declares x, as vec4<u32>s, and THREADS, the threads of its workgroup.
override COLS: u32; // padded to a multiple of 64
override EPS: f32; // epsilon of the RMSNorm in front; negative: no norm
override NORM_COLS: u32; // unpadded width, the divisor of the mean square

override TOKENS: u32 = 1u; // rows that a workgroup reads
override SQUARE_SUMS: u32 = THREADS * TOKENS;

var<workgroup> square_sums: array<f32, SQUARE_SUMS>;

// Where row `t` starts, in vec4s.
fn x_row(t: u32) -> u32 {
  return t * (COLS / 16u + COLS / 64u);
}

// Scales of columns 64 group .. 64 group + 63.
fn x_scales(start: u32, group: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(x[start + COLS / 16u + group]);
}

// What row `t` has in a column.
fn x_value(t: u32, column: u32) -> f32 {
  let start = x_row(t);
  let codes = unpack4xI8(x[start + column / 16u][column / 4u % 4u]);
  return f32(codes[column % 4u]) * x_scales(start, column / 64u)[column / 16u % 4u];
}

fn square_sum(codes: vec4<u32>) -> f32 {
  return f32(dot4I8Packed(codes.x, codes.x) + dot4I8Packed(codes.y, codes.y)
    + dot4I8Packed(codes.z, codes.z) + dot4I8Packed(codes.w, codes.w));
}

// Each thread's share of sum x^2 of the workgroup's row `i`, which starts at `start`. Needs a barrier before inverse_rms(i).
fn stage_square_sums(i: u32, start: u32, thread: u32) {
  var sum = 0.0;
  for (var group = thread; group < COLS / 64u; group += THREADS) {
    let scales = x_scales(start, group);
    let at = start + group * 4u;
    sum += dot(scales * scales, vec4(square_sum(x[at]), square_sum(x[at + 1u]), square_sum(x[at + 2u]), square_sum(x[at + 3u])));
  }
  square_sums[i * THREADS + thread] = sum;
}

fn inverse_rms(i: u32) -> f32 {
  var sum = 0.0;
  for (var thread = 0u; thread < THREADS; thread++) {
    sum += square_sums[i * THREADS + thread];
  }
  return inverseSqrt(sum / f32(NORM_COLS) + EPS);
}
