// A few tokens at once in the decode kernels: every weight is read and decoded once, then multiplied with each token's x. A
// token's sum is made of the same operations in the same order whatever TOKENS is: it has the bits that it has alone.
// The kernel declares x, as vec4s.
override TOKENS: u32 = 1u; // rows of x and y, at most 8
override X_STRIDE: u32 = COLS; // floats from token to token
override Y_STRIDE: u32 = ROWS;

alias TokenSums = array<vec4<f32>, 8>; // of 4 rows, for each token

// Adds the products of 4 rows x 4 columns, given as columns; `at` is their place in x.
fn add_columns(sums: ptr<function, TokenSums>, columns: mat4x4<f32>, at: u32) {
  if (TOKENS == 1u) {
    // An index that is not known when compiled costs software adapters a fifth of their speed.
    (*sums)[0] = with_columns((*sums)[0], columns, x[at]);
    return;
  }
  for (var t = 0u; t < TOKENS; t++) {
    (*sums)[t] = with_columns((*sums)[t], columns, x[t * (X_STRIDE / 4u) + at]);
  }
}

fn with_columns(sum: vec4<f32>, w: mat4x4<f32>, v: vec4<f32>) -> vec4<f32> {
  if (LANES == 1u) {
    // Software adapters, which compute fma() in many steps.
    return sum + (w[0] * v.x + w[1] * v.y + w[2] * v.z + w[3] * v.w);
  }
  return fma(w[3], vec4(v.w), fma(w[2], vec4(v.z), fma(w[1], vec4(v.y), fma(w[0], vec4(v.x), sum))));
}
