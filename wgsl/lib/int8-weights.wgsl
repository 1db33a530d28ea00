// One linear W [rows, cols] in int8: weight = scale[row] * code[row, col].
//
// codes [rows/4, cols/4, 4 rows]: a word is 4 columns of one row, lowest byte first, so that a vec4 is 4 rows x 4 columns.
// Behind the codes: kept columns, where there are some (lib/kept-columns).
// scales f32 [rows]. Rows are whole blocks of 16, cols padded to a multiple of 64.
@group(0) @binding(0) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<vec4<f32>>;
