// silu(v) = v / (1 + exp(-v)), the exponent clamped so that no intermediate is infinite.
fn silu(v: vec4<f32>) -> vec4<f32> {
  return v / (1.0 + exp(min(-v, vec4(80.0))));
}
