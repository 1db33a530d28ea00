// W x with W in int8, for software adapters: a thread computes 16 tokens x 16 rows all by itself. It shares nothing in workgroup
// memory, since barriers cost such adapters more than to load twice. Activations stay in f32: there is nothing to gain from
// rounding them where integers are multiplied no faster.
//
// The kernel declares x f32 [T, shape.stride] as vec4s, state and shape.
// #import lib/int8-weights
// #import lib/int8-floats
// #import lib/matmul-store
// #import lib/four-tokens
const THREADS = 4u; // what such an adapter runs in step
const TOKENS = 16u;

// 4 columns of the thread's row quads.
struct RowQuads {
  a: mat4x4<f32>,
  b: mat4x4<f32>,
  c: mat4x4<f32>,
  d: mat4x4<f32>,
}

// Of four tokens: column i of a token's matrix is the thread's row quad i.
alias FourSums = array<mat4x4<f32>, 4>;
alias Sums = array<FourSums, 4>;

fn read_quads(w: vec4<u32>) -> RowQuads {
  return RowQuads(by_column(codes[w.x]), by_column(codes[w.y]), by_column(codes[w.z]), by_column(codes[w.w]));
}

// Each sum is put back as soon as it is there: such an adapter keeps what waits in memory, and copies it once more.
fn add_tokens(sums: ptr<function, FourSums>, w: RowQuads, v: mat4x4<f32>) {
  (*sums)[0][0] = add_products((*sums)[0][0], w.a, v[0]);
  (*sums)[0][1] = add_products((*sums)[0][1], w.b, v[0]);
  (*sums)[0][2] = add_products((*sums)[0][2], w.c, v[0]);
  (*sums)[0][3] = add_products((*sums)[0][3], w.d, v[0]);
  (*sums)[1][0] = add_products((*sums)[1][0], w.a, v[1]);
  (*sums)[1][1] = add_products((*sums)[1][1], w.b, v[1]);
  (*sums)[1][2] = add_products((*sums)[1][2], w.c, v[1]);
  (*sums)[1][3] = add_products((*sums)[1][3], w.d, v[1]);
  (*sums)[2][0] = add_products((*sums)[2][0], w.a, v[2]);
  (*sums)[2][1] = add_products((*sums)[2][1], w.b, v[2]);
  (*sums)[2][2] = add_products((*sums)[2][2], w.c, v[2]);
  (*sums)[2][3] = add_products((*sums)[2][3], w.d, v[2]);
  (*sums)[3][0] = add_products((*sums)[3][0], w.a, v[3]);
  (*sums)[3][1] = add_products((*sums)[3][1], w.b, v[3]);
  (*sums)[3][2] = add_products((*sums)[3][2], w.c, v[3]);
  (*sums)[3][3] = add_products((*sums)[3][3], w.d, v[3]);
}

// The row quads of W for the tokens from `token` on, scales not applied. Up to 8 tokens cost half of 16.
fn multiply_rows(row_quads: vec4<u32>, token: u32, thread: u32) -> Sums {
  var a: FourSums;
  var b: FourSums;
  var c: FourSums;
  var d: FourSums;
  let w = row_quads * (shape.cols / 4u);
  let first = tokens_from(token, thread);
  let second = tokens_from(token + 4u, thread);
  let third = tokens_from(token + 8u, thread);
  let fourth = tokens_from(token + 12u, thread);
  if (state.count - token <= TOKENS / 2u) {
    for (var k = 0u; k < shape.cols / 4u; k++) {
      let quads = read_quads(w + k);
      add_tokens(&a, quads, read_tokens(first, k));
      add_tokens(&b, quads, read_tokens(second, k));
    }
  } else {
    for (var k = 0u; k < shape.cols / 4u; k++) {
      let quads = read_quads(w + k);
      add_tokens(&a, quads, read_tokens(first, k));
      add_tokens(&b, quads, read_tokens(second, k));
      add_tokens(&c, quads, read_tokens(third, k));
      add_tokens(&d, quads, read_tokens(fourth, k));
    }
  }
  return Sums(a, b, c, d);
}
