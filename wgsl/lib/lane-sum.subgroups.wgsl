// Sums a value over the LANES threads that share rows, by shuffles within a subgroup.
// The host picks this file only where every subgroup has at least LANES threads.
enable subgroups;
override LANES: u32;

fn lane_sum(value: vec4<f32>, thread: u32) -> vec4<f32> {
  var sum = value;
  for (var distance = LANES / 2u; distance > 0u; distance /= 2u) {
    sum += subgroupShuffleXor(sum, distance);
  }
  return sum;
}
