// 16 columns of x from vec4 `at` on. On a software adapter, where no threads share a row, four threads want the same columns:
// each reads 4 of them and hands them round, since such an adapter loads for one thread after the other.
// All threads go through the same steps then, which the compiler cannot know from LANES.
enable subgroups;
diagnostic(off, subgroup_uniformity);
fn read_columns(at: u32, thread: u32) -> mat4x4<f32> {
  if (LANES > 1u) {
    return mat4x4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
  }
  let own = x[at + thread % 4u];
  return mat4x4(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}
