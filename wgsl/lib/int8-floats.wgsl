// Codes in int8 as f32, for software adapters: SwiftShader's dot4I8Packed takes the time of 46 multiply-adds. Taking a code
// out of its word costs a few, so this pays where a code is used more than once: with several tokens.
//
// A code is read where it is the word's top byte, so that it comes out times 2^24, exactly; whoever uses it takes that back
// with the row's scale.
const CODE_SCALE = 0x1p-24;

fn top_bytes(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(words & vec4(0xff000000u)));
}

// 4 columns of 4 rows, a word each: column i of the matrix is column i of the rows.
fn by_column(words: vec4<u32>) -> mat4x4<f32> {
  return mat4x4(
    top_bytes(words << vec4(24u)), top_bytes(words << vec4(16u)), top_bytes(words << vec4(8u)), top_bytes(words),
  );
}

// Adds the products of 4 rows x 4 columns.
fn add_products(sum: vec4<f32>, w: mat4x4<f32>, v: vec4<f32>) -> vec4<f32> {
  return fma(w[3], vec4(v.w), fma(w[2], vec4(v.z), fma(w[1], vec4(v.y), fma(w[0], vec4(v.x), sum))));
}
