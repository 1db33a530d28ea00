// weight[bin(x)] += w,  inside[bin(x)] += floor(w * how far x lies into its bin),  w = floor(row_weight * emphasis[bin] * importance), emphasis 1 below 4 bits
//
// The histogram that palette-kmeans clusters: 4,096 bins a block of 16 rows, in whole numbers, so that the order of the sums does
// not matter. runtime/palettize/kmeans.ts says why bins lie as they do, and keeps a block's weights below 2^28.
// x f32 [blocks, cols, 16], padding of any value where its row weighs 0. Workgroups (parts of the columns, blocks).
// #import lib/palette-bins
struct HistogramShape {
  cols: u32,
  parts: u32, // workgroups that share a block
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> widths: array<u32>; // [blocks]
@group(0) @binding(2) var<storage, read> row_weights: array<f32>; // [blocks, 16]
@group(0) @binding(3) var<storage, read> importance: array<f32>; // [cols]
@group(0) @binding(4) var<storage, read> emphasis: array<f32>; // [SIDE_BINS], by the bins of |x|
@group(0) @binding(5) var<storage, read_write> histogram: array<atomic<u32>>; // [blocks, BINS, 2], zero before
@group(0) @binding(6) var<uniform> shape: HistogramShape;

const THREADS = 64u;
const LARGEST = 2047.0; // what is beyond counts as that

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let block = workgroup.y;
  let row_weight = row_weights[block * 16u + thread % 16u];
  if (row_weight == 0.0) {
    return;
  }
  let emphasized = widths[block] == 4u;
  for (var c = workgroup.x * 4u + thread / 16u; c < shape.cols; c += shape.parts * 4u) {
    let value = x[(block * shape.cols + c) * 16u + thread % 16u];
    let at = bin_of(u32(min(abs(value), LARGEST) * f32(ONE)));
    let strength = select(1.0, emphasis[at.bin], emphasized);
    let w = u32(row_weight * strength * importance[c]);
    let bin = select(SIDE_BINS + at.bin, SIDE_BINS - 1u - at.bin, value < 0.0);
    let slot = (block * BINS + bin) * 2u;
    atomicAdd(&histogram[slot], w);
    atomicAdd(&histogram[slot + 1u], (w >> 8u) * at.part + (((w & 255u) * at.part) >> 8u));
  }
}
