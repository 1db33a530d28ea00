// Low-rank terms beside a linear (LoRA, arXiv 2106.09685): y[t, r] += sum_s scale_s sum_k B_s[r, k] z_s[t, k], z_s = A_s x.
//
// arena: of each term A f16 [rank, cols], then B f16 [rows/4, rank, 4 rows]; rank padded to a multiple of 4, cols to 64, rows to
// 16, all with zeros; a vec4 is 8 halves.
// table: (place of A, place of B, padded rank, scale) of each term, two terms a linear (stacked adapters), linears of a stack in
// order; rank 0: no term. Swapping adapters is another table.
// z f32 [T, Z_STRIDE]: 64 floats a term.
const TERMS = 2u; // of a linear
const MOST_RANK = 64u;
const Z_STRIDE = 384u; // 3 linears of 2 terms

@group(0) @binding(0) var<storage, read> arena: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> terms: array<vec4<u32>>;

fn halves(low: u32, high: u32) -> vec4<f32> {
  return vec4(unpack2x16float(low), unpack2x16float(high));
}
