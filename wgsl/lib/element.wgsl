// Element type of tiles in workgroup memory; sums are always f32.
alias element = f32;
alias element4 = vec4<f32>;

fn to_element4(v: vec4<f32>) -> element4 {
  return v;
}
