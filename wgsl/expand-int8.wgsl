// code[r, c] = round(palette[block(r)][code(r, c)] / s),  scale[r] = s * row_scale[r],  s = max |palette| / 127 of the block
//
// Once, at load, for adapters on which a look-up costs more than a multiplication: palettes become int8 (lib/int8-weights).
// Kept columns move behind the codes. Planes as lib/palette-weights has them. One workgroup a block of 16 rows.
// #import lib/palette-weights
// #import lib/int8-palette
struct ExpandShape {
  cols: u32, // padded to a multiple of 64
  rows: u32,
  kept_quads: u32, // kept columns (lib/kept-columns), in vec4s of words
}

@group(0) @binding(4) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> scales: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> shape: ExpandShape;

const THREADS = 64u;
var<workgroup> entries: array<u32, 16>; // int8, one a word

fn entries_at(code: vec4<u32>) -> vec4<u32> {
  return vec4(entries[code.x], entries[code.y], entries[code.z], entries[code.w]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let block = workgroup.x;
  let largest = largest_entry(block);
  if (thread < 16u) {
    entries[thread] = int8_entry(block, thread, largest);
  }
  workgroupBarrier();
  let quad = block * 4u + thread % 4u;
  if (thread < 4u) {
    scales[quad] = largest / 127.0 * row_scales(quad * 4u);
  }
  for (var i = block * THREADS + thread; i < shape.kept_quads; i += shape.rows / 16u * THREADS) {
    let first = shape.rows / 16u * BLOCK_WORDS + i * 4u;
    codes[shape.rows / 16u * shape.cols + i] = vec4(blocks[first], blocks[first + 1u], blocks[first + 2u], blocks[first + 3u]);
  }
  let record = block * BLOCK_WORDS;
  let bits = blocks[record];
  let steps = shape.cols / 32u;
  let slot = thread % 4u;
  for (var step = thread / 4u; step < steps; step += THREADS / 4u) {
    var middle = vec4(0u);
    var low = vec4(0u);
    if (bits >= 3u) {
      middle = plane1[(blocks[record + 1u] / 4u + slot) * steps + step];
    }
    if (bits >= 4u) {
      low = plane2[(blocks[record + 2u] / 4u + slot) * steps + step];
    }
    for (var word = 0u; word < 2u; word++) {
      let top = plane0[(quad * 2u + word) * steps + step];
      for (var i = 0u; i < 4u; i++) {
        var four = vec4(0u);
        for (var c = 0u; c < 4u; c++) {
          let column = i * 4u + c;
          let bit = vec4(column / 2u * 4u + word * 2u + column % 2u);
          let code = (((top >> vec4(column * 2u)) & vec4(3u)) << vec4(2u))
            | (((middle >> bit) & vec4(1u)) << vec4(1u)) | ((low >> bit) & vec4(1u));
          four |= entries_at(code) << vec4(c * 8u);
        }
        codes[quad * (shape.cols / 4u) + step * 8u + word * 4u + i] = four;
      }
    }
  }
}
