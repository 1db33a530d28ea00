// Kept columns: what the codes of a few columns of W miss, in f16, as a sum of its own that no code is skipped for:
//
//   y[t, r] += sum_j kept[r, j] * x[t, index[j]]
//
// Words behind those of the weights, in a buffer that is bound anyway: index u32 [n], then f16 [rows/4, n, 4 rows]; n a multiple
// of 4. The kernel says where their word i is, kept_word(i), and what x holds in a column, x_value(t, column).
fn kept_columns(n: u32, t: u32, row: u32) -> vec4<f32> {
  var sum = vec4(0.0);
  for (var j = 0u; j < n; j++) {
    let at = n + (row / 4u * n + j) * 2u;
    sum += vec4(unpack2x16float(kept_word(at)), unpack2x16float(kept_word(at + 1u))) * x_value(t, kept_word(j));
  }
  return sum;
}
