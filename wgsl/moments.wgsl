// m[i, j] += sum_t x[t, i] x[t, j]  for j <= i, t rising, the second moments of a linear's inputs
//
// x f32 [T, stride], padding zero; m f32 [rows, stride], the moments' rows from first_row on. Tiles above the diagonal are left
// as they are. Workgroups (stride / 64, rows / 64), a tile of 64 x 64 each, 64 threads with 8 x 8 sums; a slab of 16 tokens is
// staged in workgroup memory. Each sum has its one order, so that no size of a piece shows in the result.
struct MomentsShape {
  stride: u32, // a multiple of 64
  first_row: u32, // a multiple of 64
  tokens: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> shape: MomentsShape;

const SLAB = 16u;
var<workgroup> left: array<vec4<f32>, 256>; // [token][quad of i]
var<workgroup> right: array<vec4<f32>, 256>; // [token][quad of j]

fn stage(token: u32, quad: u32) -> vec4<f32> {
  if (token >= shape.tokens) {
    return vec4(0.0);
  }
  return x[token * (shape.stride / 4u) + quad];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tile_i = shape.first_row / 64u + workgroup.y;
  let tile_j = workgroup.x;
  if (tile_j > tile_i) {
    return;
  }
  let quad_i = thread / 8u * 2u;
  let quad_j = thread % 8u * 2u;
  let at = (workgroup.y * 64u + quad_i * 4u) * (shape.stride / 4u) + tile_j * 16u + quad_j;
  var low: array<vec4<f32>, 8>;
  var high: array<vec4<f32>, 8>;
  for (var i = 0u; i < 8u; i++) {
    low[i] = m[at + i * (shape.stride / 4u)];
    high[i] = m[at + i * (shape.stride / 4u) + 1u];
  }
  for (var first = 0u; first < shape.tokens; first += SLAB) {
    workgroupBarrier(); // the previous slab has been read
    for (var i = thread; i < SLAB * 16u; i += 64u) {
      left[i] = stage(first + i / 16u, tile_i * 16u + i % 16u);
      right[i] = stage(first + i / 16u, tile_j * 16u + i % 16u);
    }
    workgroupBarrier();
    for (var t = 0u; t < min(SLAB, shape.tokens - first); t++) {
      let a = left[t * 16u + quad_i];
      let b = left[t * 16u + quad_i + 1u];
      let c = right[t * 16u + quad_j];
      let d = right[t * 16u + quad_j + 1u];
      low[0] += a.x * c;  high[0] += a.x * d;
      low[1] += a.y * c;  high[1] += a.y * d;
      low[2] += a.z * c;  high[2] += a.z * d;
      low[3] += a.w * c;  high[3] += a.w * d;
      low[4] += b.x * c;  high[4] += b.x * d;
      low[5] += b.y * c;  high[5] += b.y * d;
      low[6] += b.z * c;  high[6] += b.z * d;
      low[7] += b.w * c;  high[7] += b.w * d;
    }
  }
  for (var i = 0u; i < 8u; i++) {
    m[at + i * (shape.stride / 4u)] = low[i];
    m[at + i * (shape.stride / 4u) + 1u] = high[i];
  }
}
