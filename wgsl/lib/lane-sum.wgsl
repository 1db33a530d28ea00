// Sums a value over the LANES threads that share rows (consecutive threads, LANES a power of two): portable tree.
override LANES: u32;

var<workgroup> lane_partials: array<vec4<f32>, THREADS>;

fn lane_sum(value: vec4<f32>, thread: u32) -> vec4<f32> {
  if (LANES == 1u) {
    return value;
  }
  lane_partials[thread] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (thread % LANES < half) {
      lane_partials[thread] += lane_partials[thread + half];
    }
    workgroupBarrier();
  }
  return lane_partials[thread];
}
