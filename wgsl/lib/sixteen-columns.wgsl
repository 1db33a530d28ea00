// 16 columns of x from vec4 `at` on, 4 a column of the matrix: portable, every thread reads them all.
// The kernel declares x as vec4s of f32, and imports lib/lane-sum.
fn read_columns(at: u32, thread: u32) -> mat4x4<f32> {
  return mat4x4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}
