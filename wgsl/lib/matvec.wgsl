// The common part of the decode kernels: activations x f32 [TOKENS, X_STRIDE] against rows of W, and the RMSNorm in front.
// A thread owns 4 rows; LANES threads share them, each taking every LANES-th step of columns; x is read once for the 4 rows.
// A GPU runs up to 16 lanes x 4 slots = 16 rows a workgroup (kernel choice: kernels/matvec-mapping.ts); a software adapter,
// where barriers are dear and there is nothing to coalesce, one lane a row. The kernel declares x, as vec4s.
// #import lib/few-tokens
override COLS: u32; // padded to a multiple of 64
override SLOTS: u32; // groups of 4 rows in a workgroup
override THREADS: u32; // LANES * SLOTS
override EPS: f32; // epsilon of the RMSNorm in front; negative: no norm
override NORM_COLS: u32; // unpadded width, the divisor of the mean square
override SQUARE_SUMS: u32 = THREADS * TOKENS;

var<workgroup> square_sums: array<f32, SQUARE_SUMS>;

// Each thread's share of each token's sum x^2. Needs a barrier before inverse_rms().
fn stage_square_sums(thread: u32) {
  for (var t = 0u; t < TOKENS; t++) {
    var sum = vec4(0.0);
    for (var i = thread; i < COLS / 4u; i += THREADS) {
      let v = x[t * (X_STRIDE / 4u) + i];
      sum += v * v;
    }
    square_sums[t * THREADS + thread] = dot(sum, vec4(1.0));
  }
}

fn inverse_rms(t: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < THREADS; i++) {
    sum += square_sums[t * THREADS + i];
  }
  return inverseSqrt(sum / f32(NORM_COLS) + EPS);
}
