// y[r] = scale[r] * (sum_c q[r, c] * x[c] - zero[r] * sum_c x[c])
//
// What a 4-bit kernel of the common kind costs, as the measure of our own: round-to-nearest codes q in plain nibbles, one f16
// scale and zero a row, the same 4 rows x 32 columns a thread and step, the same lanes, the same reduction. Blocks of 32 or 64
// columns with a scale each, as peers ship, cost more in the loop: this is the cheapest affine form, so the hardest to beat.
//
// codes u32 [ROWS, COLS/8]: of a word's 8 columns the first 4 in the low nibbles of its bytes, the others in the high ones, so
// that one mask yields 4 columns in order; scale_zero u32 [ROWS]: two halves; x f32 [COLS], y f32 [ROWS]. Rows a multiple of 16.
// #import lib/lane-sum
override ROWS: u32;
override COLS: u32;
override SLOTS: u32;
override THREADS: u32;

@group(0) @binding(0) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scale_zero: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

fn add_word(sum: f32, word: u32, v0: vec4<f32>, v1: vec4<f32>) -> f32 {
  let low = vec4<f32>(unpack4xU8(word & 0x0f0f0f0fu));
  let high = vec4<f32>(unpack4xU8((word >> 4u) & 0x0f0f0f0fu));
  let first = fma(low.w, v0.w, fma(low.z, v0.z, fma(low.y, v0.y, fma(low.x, v0.x, sum))));
  return fma(high.w, v1.w, fma(high.z, v1.z, fma(high.y, v1.y, fma(high.x, v1.x, first))));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = workgroup.x * SLOTS * 4u + thread / LANES * 4u;
  var sum = vec4(0.0);
  var x_sum = vec4(0.0);
  if (row < ROWS) {
    for (var step = thread % LANES; step < COLS / 32u; step += LANES) {
      let w0 = codes[row * (COLS / 32u) + step];
      let w1 = codes[(row + 1u) * (COLS / 32u) + step];
      let w2 = codes[(row + 2u) * (COLS / 32u) + step];
      let w3 = codes[(row + 3u) * (COLS / 32u) + step];
      for (var i = 0u; i < 4u; i++) {
        let v0 = x[step * 8u + i * 2u];
        let v1 = x[step * 8u + i * 2u + 1u];
        sum = vec4(
          add_word(sum.x, w0[i], v0, v1), add_word(sum.y, w1[i], v0, v1),
          add_word(sum.z, w2[i], v0, v1), add_word(sum.w, w3[i], v0, v1),
        );
        x_sum += v0 + v1;
      }
    }
  }
  sum = lane_sum(sum, thread);
  x_sum = lane_sum(vec4(dot(x_sum, vec4(1.0))), thread);
  if (thread % LANES == 0u && row < ROWS) {
    let words = scale_zero[row / 4u];
    let r0 = unpack2x16float(words.x);
    let r1 = unpack2x16float(words.y);
    let r2 = unpack2x16float(words.z);
    let r3 = unpack2x16float(words.w);
    y[row / 4u] = vec4(r0.x, r1.x, r2.x, r3.x) * (sum - vec4(r0.y, r1.y, r2.y, r3.y) * x_sum);
  }
}
