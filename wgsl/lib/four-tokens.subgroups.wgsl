// 4 columns of x for four tokens at once: each of the workgroup's 4 threads reads one token's and hands it round, since
// software adapters load for one thread after the other, even where all want the same.
enable subgroups;
alias FourTokens = u32; // where this thread's begins

fn tokens_from(token: u32, thread: u32) -> FourTokens {
  return min(token + thread, state.count - 1u) * (shape.stride / 4u);
}

fn read_tokens(tokens: FourTokens, k: u32) -> mat4x4<f32> {
  let own = x[tokens + k];
  return mat4x4(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}
