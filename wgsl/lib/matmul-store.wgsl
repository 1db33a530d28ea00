// What all prefill kernels share: their shape, and how a result leaves. The kernel declares state, scale and y.

// Shapes come in a uniform, not as overrides: one pipeline serves every linear, and compiling it takes seconds on some drivers.
struct MatmulShape {
  rows: u32, // of y, a multiple of 16
  cols: u32, // padded to a multiple of 64
  stride: u32, // floats from token to token of x, at least cols; rows in int8 follow one another
  y_stride: u32,
  scaled: u32, // 1: multiply by scale[t], a norm stands in front
  add: u32, // 1: add to what y holds, the residual stream
  kept: u32, // kept columns, where no norm stands in front
}

// Writes 4 rows of y[token]: scaled by the token's inverse RMS and added to what is there, as the shape says.
fn store(token: u32, row: u32, product: vec4<f32>) {
  if (token >= state.count || row >= shape.rows) {
    return;
  }
  var result = product;
  if (shape.scaled == 1u) {
    result *= scale[token];
  }
  let at = (token * shape.y_stride + row) / 4u;
  if (shape.add == 1u) {
    result += y[at];
  }
  y[at] = result;
}
