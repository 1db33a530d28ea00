// The rotation R = diag(signs) (C kron H) of one vector of D = DCT * HADAMARD values in workgroup memory:
// random signs, an orthonormal DCT across blocks, an orthonormal fast Walsh-Hadamard transform inside each block
// (QuaRot, arXiv 2404.00456). DCT = 0 means that the model runs unrotated.
//
// rotation f32 [DCT * DCT + D]: the cosines, y[j] = sum_i x[i] cosines[i * DCT + j], then the signs.
override THREADS: u32; // a power of two
override D: u32;
override DCT: u32;
override HADAMARD: u32;

var<workgroup> vector: array<f32, D>;
var<workgroup> mixed: array<f32, D>;

// In place on `vector`. Barriers inside; call in uniform control flow, after a barrier.
fn hadamard_blocks(thread: u32) {
  for (var half = 1u; half < HADAMARD; half *= 2u) {
    for (var pair = thread; pair < D / 2u; pair += THREADS) {
      let i = pair / half * (2u * half) + pair % half;
      let a = vector[i];
      let b = vector[i + half];
      vector[i] = a + b;
      vector[i + half] = a - b;
    }
    workgroupBarrier();
  }
}

// mixed = the DCT across blocks of `vector` (its transpose when `inverse`), scaled by the Hadamard norm 1/sqrt(HADAMARD).
fn dct_blocks(thread: u32, inverse: bool) {
  let norm = inverseSqrt(f32(HADAMARD));
  for (var at = thread; at < D; at += THREADS) {
    let j = at / HADAMARD;
    let k = at % HADAMARD;
    var sum = 0.0;
    for (var i = 0u; i < DCT; i++) {
      sum += vector[i * HADAMARD + k] * rotation[select(i * DCT + j, j * DCT + i, inverse)];
    }
    mixed[at] = sum * norm;
  }
  workgroupBarrier();
}
