// for j rising: code[r, j] = nearest entry to x[r, j],  g[r, j] = (x[r, j] - palette[code]) * inverse[j],
//               x[r, k] -= g[r, j] U[j, k] for k > j
//
// Codes with error feedback (GPTQ, arXiv 2210.17323): runtime/palettize/feedback.ts says why. Each product and difference is
// rounded, j rises for every x[r, k]. x f32 [blocks, cols, 16] becomes g; U f32 [first + count, count], the factor's columns from `first`
// on, so that a factor may come in pieces. Columns from `coded` on get no code: they keep x, with the feedback of those before.
// One workgroup a block of 16 rows, by panels of 32 columns: 64 threads bring a panel up to date with all columns before it (a
// column and 8 rows each), then a thread has a row and goes through the panel's columns, with no barrier between them.
struct AssignShape {
  cols: u32,
  coded: u32,
  first: u32, // a multiple of 32
  count: u32, // columns of this piece
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> palettes: array<f32>; // [blocks, 16]
@group(0) @binding(2) var<storage, read> widths: array<u32>; // [blocks], bits
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read> inverse: array<f32>; // [cols], 1 / U[j, j]
@group(0) @binding(5) var<storage, read_write> codes: array<vec4<u32>>; // [blocks, panels, 16]: 32 codes of 4 bits
@group(0) @binding(6) var<storage, read_write> errors: array<f32>; // [blocks, 16], += sum of g^2
@group(0) @binding(7) var<uniform> shape: AssignShape;

const PANEL = 32u;
var<workgroup> panel: array<f32, 512>; // [column][row]: x, then g. A thread that writes part of a vec4 may write all of it
var<workgroup> diagonal: array<f32, 1024>; // U of the panel's columns, [j][k]
var<workgroup> entries: array<f32, 16>;

// x of columns first .. first + 31, with the feedback of all columns before the panel.
fn bring_up_to_date(block: u32, start: u32, thread: u32) {
  let k = start + thread % PANEL;
  let quad = thread / PANEL * 2u;
  if (k < shape.cols) {
    let at = (block * shape.cols + k) * 4u + quad;
    var low = x[at];
    var high = x[at + 1u];
    for (var j = 0u; j < min(start, shape.coded); j++) {
      let u = factor[j * shape.count + k - shape.first];
      let g = (block * shape.cols + j) * 4u + quad;
      low -= x[g] * u;
      high -= x[g + 1u] * u;
    }
    for (var i = 0u; i < 4u; i++) {
      panel[thread % PANEL * 16u + quad * 4u + i] = low[i];
      panel[thread % PANEL * 16u + quad * 4u + 4u + i] = high[i];
    }
    for (var j = thread / PANEL; start + j < min(shape.cols, start + PANEL); j += 2u) {
      diagonal[j * PANEL + thread % PANEL] = factor[(start + j) * shape.count + k - shape.first];
    }
  }
}

fn nearest(value: f32, width: u32) -> u32 {
  var code = 0u;
  for (var step = 1u << (width - 1u); step >= 1u; step >>= 1u) {
    if (value > (entries[code + step - 1u] + entries[code + step]) * 0.5) {
      code += step;
    }
  }
  return code;
}

// The panel's columns of one row.
fn assign_row(block: u32, start: u32, row: u32) {
  let width = widths[block];
  var error = errors[block * 16u + row];
  var words = vec4(0u);
  for (var j = 0u; start + j < min(shape.cols, start + PANEL); j++) {
    var value = panel[j * 16u + row];
    for (var i = 0u; i < min(j, max(shape.coded, start) - start); i++) {
      value -= panel[i * 16u + row] * diagonal[i * PANEL + j];
    }
    if (start + j < shape.coded) {
      let code = nearest(value, width);
      words[j / 8u] |= code << (j % 8u * 4u);
      value = (value - entries[code]) * inverse[start + j];
      error += value * value;
    }
    panel[j * 16u + row] = value;
  }
  errors[block * 16u + row] = error;
  codes[(block * ((shape.cols + PANEL - 1u) / PANEL) + start / PANEL) * 16u + row] = words;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let block = workgroup.x;
  if (thread < 16u) {
    entries[thread] = palettes[block * 16u + thread];
  }
  for (var start = shape.first; start < shape.first + shape.count; start += PANEL) {
    bring_up_to_date(block, start, thread);
    workgroupBarrier();
    if (thread < 16u) {
      assign_row(block, start, thread);
    }
    workgroupBarrier();
    for (var i = thread; i < PANEL * 4u && start + i / 4u < shape.cols; i += 64u) {
      x[(block * shape.cols + start) * 4u + i] = vec4(panel[i * 4u], panel[i * 4u + 1u], panel[i * 4u + 2u], panel[i * 4u + 3u]);
    }
    storageBarrier();
    workgroupBarrier();
  }
}
