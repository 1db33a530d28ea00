// y[t, r] += sum_s scale_s sum_k B_s[r, k] z[t, s, k]
//
// s: the terms (lib/adapter-terms) of the linear that row r belongs to. y f32 [T, y_stride]: up to 3 linears stacked by rows.
// Workgroups (rows / 256, T), a thread a vec4 of rows. Without a term y keeps its bits.
// #import lib/step-state
// #import lib/adapter-terms
struct UpShape {
  first: u32, // term of the first linear
  rows: u32, // of the stack, a multiple of 16
  y_stride: u32,
  second: u32, // first row of the second linear, and of the third; `rows` where there is none
  third: u32,
}

@group(0) @binding(2) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: StepState;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> shape: UpShape;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 4u;
  let t = id.y;
  if (t >= state.count || state.done == 1u || row >= shape.rows) {
    return;
  }
  var linear = 0u;
  var first_row = 0u;
  if (row >= shape.third) {
    linear = 2u;
    first_row = shape.third;
  } else if (row >= shape.second) {
    linear = 1u;
    first_row = shape.second;
  }
  let at = (t * shape.y_stride + row) / 4u;
  for (var s = linear * TERMS; s < (linear + 1u) * TERMS; s++) {
    let term = terms[shape.first + s];
    if (term.z > 0u) {
      let b = term.y + (row - first_row) / 4u * (term.z / 2u);
      let from_z = (t * Z_STRIDE + s * MOST_RANK) / 4u;
      var sum = vec4(0.0);
      for (var i = 0u; i < term.z / 4u; i++) {
        let v = z[from_z + i];
        let low = arena[b + 2u * i];
        let high = arena[b + 2u * i + 1u];
        sum += halves(low.x, low.y) * v.x + halves(low.z, low.w) * v.y
          + halves(high.x, high.y) * v.z + halves(high.z, high.w) * v.w;
      }
      y[at] += bitcast<f32>(term.w) * sum;
    }
  }
}
