// Codes of 4-bit blocks from planes to pair bytes, in place: what decode reads one look-up at a time (lib/palette-weights).
//
// Workgroups (cols / 32 / 32, rows / 4): a thread owns the four words of 4 rows x 32 columns, so nobody else reads them.
// Runs once, after the planes were uploaded; blocks of 2 and 3 bits are left as they are.
// #import lib/code-pairs
override COLS: u32; // padded to a multiple of 64

@group(0) @binding(0) var<storage, read_write> plane0: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> plane1: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> plane2: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> blocks: array<u32>;

const BLOCK_WORDS = 20u;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let step = id.x;
  let steps = COLS / 32u;
  let record = id.y / 4u * BLOCK_WORDS;
  if (step >= steps || blocks[record] != 4u) {
    return;
  }
  let at0 = id.y * 2u * steps + step;
  let at1 = (blocks[record + 1u] / 4u + id.y % 4u) * steps + step;
  let at2 = (blocks[record + 2u] / 4u + id.y % 4u) * steps + step;
  let middle = plane1[at1];
  let low = plane2[at2];
  let first = pairs_of_planes(plane0[at0], middle, low);
  let second = pairs_of_planes(plane0[at0 + steps], middle >> vec4(2u), low >> vec4(2u));
  plane0[at0] = first.even;
  plane0[at0 + steps] = first.odd;
  plane1[at1] = second.even;
  plane2[at2] = second.odd;
}
