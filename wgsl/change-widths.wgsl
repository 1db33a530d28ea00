// Codes of blocks at other widths, where they lie: plane0 in place, plane1 and plane2 into buffers that hold what is still needed.
//
// next u32 [rows/16, 4]: bits, first row in next1, first row in next2, 0. Where a block gains bits, their planes were written to
// its rows of next1 and next2 beforehand, as files have them. `blocks` says how things are before; its records are written after.
// Workgroups (cols / 32 / 32, rows / 4): a thread owns the words of 4 rows x 32 columns. Packing: lib/palette-weights.
// #import lib/code-pairs
struct ChangeShape {
  cols: u32, // padded to a multiple of 64
}

@group(0) @binding(0) var<storage, read_write> plane0: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> plane1: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> plane2: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> blocks: array<u32>;
@group(0) @binding(4) var<storage, read> next: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> next1: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> next2: array<vec4<u32>>;
@group(0) @binding(7) var<uniform> shape: ChangeShape;

const BLOCK_WORDS = 20u;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let step = id.x;
  let steps = shape.cols / 32u;
  if (step >= steps) {
    return;
  }
  let slot = id.y % 4u;
  let record = id.y / 4u * BLOCK_WORDS;
  let bits = blocks[record];
  let wanted = next[id.y / 4u];
  let at0 = id.y * 2u * steps + step;
  let from1 = (blocks[record + 1u] / 4u + slot) * steps + step;
  let from2 = (blocks[record + 2u] / 4u + slot) * steps + step;
  let to1 = (wanted.y / 4u + slot) * steps + step;
  let to2 = (wanted.z / 4u + slot) * steps + step;

  var first = CodePlanes(plane0[at0], vec4(0u), vec4(0u));
  var second = CodePlanes(plane0[at0 + steps], vec4(0u), vec4(0u));
  var middle = vec4(0u);
  var low = vec4(0u);
  if (bits == 4u) {
    first = planes_of_pairs(CodePairs(first.top, second.top));
    second = planes_of_pairs(CodePairs(plane1[from1], plane2[from2]));
    middle = first.middle | (second.middle << vec4(2u));
    low = first.low | (second.low << vec4(2u));
  } else if (bits == 3u) {
    middle = plane1[from1];
  }
  if (bits < 3u && wanted.x >= 3u) {
    middle = next1[to1];
  }
  if (bits < 4u && wanted.x == 4u) {
    low = next2[to2];
  }

  if (wanted.x == 4u) {
    let upper = pairs_of_planes(first.top, middle, low);
    let lower = pairs_of_planes(second.top, middle >> vec4(2u), low >> vec4(2u));
    plane0[at0] = upper.even;
    plane0[at0 + steps] = upper.odd;
    next1[to1] = lower.even;
    next2[to2] = lower.odd;
    return;
  }
  plane0[at0] = first.top;
  plane0[at0 + steps] = second.top;
  if (wanted.x == 3u) {
    next1[to1] = middle;
  }
}
