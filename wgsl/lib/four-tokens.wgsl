// 4 columns of x for four tokens at once: portable, every thread reads them all.
// The kernel declares x f32 [T, shape.stride] as vec4s, state and shape. Tokens beyond the step repeat the last.
alias FourTokens = vec4<u32>; // where each begins

fn tokens_from(token: u32, thread: u32) -> FourTokens {
  return min(vec4(token) + vec4(0u, 1u, 2u, 3u), vec4(state.count - 1u)) * (shape.stride / 4u);
}

// A column of the matrix is one token's.
fn read_tokens(tokens: FourTokens, k: u32) -> mat4x4<f32> {
  let at = tokens + vec4(k);
  return mat4x4(x[at.x], x[at.y], x[at.z], x[at.w]);
}
