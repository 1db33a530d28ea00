// W x with W in int8, for software adapters: a thread computes 8 tokens x 16 rows all by itself. It shares nothing, since
// barriers cost such adapters more than to load twice. Activations stay in f32: there is nothing to gain from rounding them
// where integers are multiplied no faster. A step costs by groups of 8 tokens.
//
// The kernel declares x f32 [T, shape.stride] as vec4s, state and shape.
// #import lib/int8-weights
// #import lib/int8-floats
// #import lib/matmul-store
const THREADS = 4u; // what such an adapter runs in step
const TOKENS = 8u;

// For each token 4 x 4 rows: column i of the matrix is the thread's row quad i.
alias Sums = array<mat4x4<f32>, TOKENS>;

// 4 columns of the thread's row quads.
struct RowQuads {
  a: mat4x4<f32>,
  b: mat4x4<f32>,
  c: mat4x4<f32>,
  d: mat4x4<f32>,
}

fn add_token(sum: mat4x4<f32>, w: RowQuads, v: vec4<f32>) -> mat4x4<f32> {
  return mat4x4(
    add_columns(sum[0], w.a, v), add_columns(sum[1], w.b, v), add_columns(sum[2], w.c, v), add_columns(sum[3], w.d, v),
  );
}

// Adds the products of 4 columns. `w` and `v` are where they stand for each row quad and token.
fn add_word(sums: Sums, w: vec4<u32>, first: vec4<u32>, second: vec4<u32>) -> Sums {
  let quads = RowQuads(by_column(codes[w.x]), by_column(codes[w.y]), by_column(codes[w.z]), by_column(codes[w.w]));
  return Sums(
    add_token(sums[0], quads, x[first.x]), add_token(sums[1], quads, x[first.y]),
    add_token(sums[2], quads, x[first.z]), add_token(sums[3], quads, x[first.w]),
    add_token(sums[4], quads, x[second.x]), add_token(sums[5], quads, x[second.y]),
    add_token(sums[6], quads, x[second.z]), add_token(sums[7], quads, x[second.w]),
  );
}

// The row quads of W for the tokens from `token` on, scales not applied. Tokens beyond the step repeat the last.
// Two words a turn: such an adapter unrolls no loop, and results go through memory at every turn.
fn multiply_rows(row_quads: vec4<u32>, token: u32) -> Sums {
  var sums: Sums;
  let w = row_quads * (shape.cols / 4u);
  let tokens = vec4(token) + vec4(0u, 1u, 2u, 3u);
  let last = vec4(state.count - 1u);
  let first = min(tokens, last) * (shape.stride / 4u);
  let second = min(tokens + 4u, last) * (shape.stride / 4u);
  for (var k = 0u; k < shape.cols / 4u; k += 2u) {
    sums = add_word(sums, w + k, first + k, second + k);
    sums = add_word(sums, w + (k + 1u), first + (k + 1u), second + (k + 1u));
  }
  return sums;
}
