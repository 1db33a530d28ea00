// Element type of tiles in workgroup memory: halves take half the room and half the traffic; sums are always f32.
// Values are clamped to the range of f16: the sample model's residual reaches 24,289, a larger model's may pass 65,504.
enable f16;
alias element = f16;
alias element4 = vec4<f16>;

fn to_element4(v: vec4<f32>) -> element4 {
  return element4(clamp(v, vec4(-65504.0), vec4(65504.0)));
}
