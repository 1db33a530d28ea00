// palette[k] = mean of the values nearest to it, for the partition of least weighted squared error
//
// A block's histogram (palette-histogram) to its palette: the best partition of 256 runs of bins, which is a shortest path (Wang
// and Song, Ckmeans.1d.dp, 2011), then Lloyd's iteration on the bins. All in whole numbers, step by step as
// runtime/palettize/kmeans.ts: the same entries come out on every device. One workgroup a block.
// #import lib/palette-bins
// #import lib/wide-integer
@group(0) @binding(0) var<storage, read> histogram: array<u32>; // [blocks, BINS, 2]
@group(0) @binding(1) var<storage, read> widths: array<u32>; // [blocks], bits: 2^bits entries
@group(0) @binding(2) var<storage, read_write> sums: array<u32>; // [blocks, BINS + 1, 3]: of weight; of weight * x, wide
@group(0) @binding(3) var<storage, read_write> gains: array<u32>; // [blocks, RUNS, RUNS]: of runs i to j at i * RUNS + j
@group(0) @binding(4) var<storage, read_write> cuts: array<u32>; // [blocks, 16, RUNS + 1]
@group(0) @binding(5) var<storage, read_write> palettes: array<f32>; // [blocks, 16], exact in f16

const RUNS = 256u; // and threads: the sums over bins are each run's by one of them
const RUN_BINS = 16u;
const MAX_ITERATIONS = 64u;

var<workgroup> run_weight: array<u32, RUNS>;
var<workgroup> run_sum: array<vec2<u32>, RUNS>;
var<workgroup> before: array<u32, 257>;
var<workgroup> best: array<u32, 257>;
var<workgroup> borders: array<u32, 17>; // in bins
var<workgroup> palette: array<i32, 16>;
var<workgroup> filled: atomic<u32>; // bins with a weight
var<workgroup> farthest: atomic<u32>; // end of the outermost of them, in units of 2^-10
var<workgroup> first_run: atomic<u32>;
var<workgroup> last_run: atomic<u32>; // behind the last with a weight
var<workgroup> moving: u32;

fn weight_before(block: u32, i: u32) -> u32 {
  return sums[(block * (BINS + 1u) + i) * 3u];
}

fn sum_before(block: u32, i: u32) -> vec2<u32> {
  let at = (block * (BINS + 1u) + i) * 3u;
  return vec2(sums[at + 1u], sums[at + 2u]);
}

fn side_bin(i: u32) -> u32 {
  return select(i - SIDE_BINS, SIDE_BINS - 1u - i, i < SIDE_BINS);
}

// weight * x of one bin.
fn bin_sum(block: u32, i: u32) -> vec2<u32> {
  let bin = side_bin(i);
  let at = (block * BINS + i) * 2u;
  let x = add_wide(multiply_wide(histogram[at], bin_start(bin)), multiply_wide(histogram[at + 1u], bin_width(bin)));
  return select(x, negate_wide(x), i < SIDE_BINS);
}

fn mean_of(block: u32, i: u32, j: u32) -> i32 {
  let sum = add_wide(sum_before(block, j), negate_wide(sum_before(block, i)));
  let weight = weight_before(block, j) - weight_before(block, i);
  let mean = i32(divide_wide(shift_left_wide(abs_wide(sum), FIXED_BITS - 10u), weight));
  return select(mean, -mean, is_negative(sum));
}

// Sums before every bin; what all of them together say is left in `filled`, `farthest`, `first_run` and `last_run`.
// Returns the bits of the sum of weight * |x|.
fn sum_bins(block: u32, thread: u32) -> u32 {
  var weight = 0u;
  var sum = vec2(0u);
  for (var i = thread * RUN_BINS; i < (thread + 1u) * RUN_BINS; i++) {
    let w = histogram[(block * BINS + i) * 2u];
    weight += w;
    sum = add_wide(sum, bin_sum(block, i));
    if (w > 0u) {
      atomicAdd(&filled, 1u);
      atomicMax(&farthest, bin_start(side_bin(i)) + bin_width(side_bin(i)));
    }
  }
  run_weight[thread] = weight;
  run_sum[thread] = sum;
  if (weight > 0u) {
    atomicMin(&first_run, thread);
    atomicMax(&last_run, thread + 1u);
  }
  workgroupBarrier();
  var magnitude = vec2(0u); // a run's values have one sign
  var weight_sum = 0u;
  var running = vec2(0u);
  for (var run = 0u; run < RUNS; run++) {
    magnitude = add_wide(magnitude, abs_wide(run_sum[run]));
    if (run < thread) {
      weight_sum += run_weight[run];
      running = add_wide(running, run_sum[run]);
    }
  }
  for (var i = thread * RUN_BINS; i < (thread + 1u) * RUN_BINS; i++) {
    let at = (block * (BINS + 1u) + i) * 3u;
    sums[at] = weight_sum;
    sums[at + 1u] = running.x;
    sums[at + 2u] = running.y;
    weight_sum += histogram[(block * BINS + i) * 2u];
    running = add_wide(running, bin_sum(block, i));
  }
  if (thread == RUNS - 1u) {
    let at = (block * (BINS + 1u) + BINS) * 3u;
    sums[at] = weight_sum;
    sums[at + 1u] = running.x;
    sums[at + 2u] = running.y;
  }
  storageBarrier();
  return bit_length_wide(magnitude);
}

// What a part from run i to before run j takes away from the sum of weight * x^2: |sum| in 28 bits times the mean in 25, less 22.
fn gain_of(block: u32, i: u32, j: u32, sum_shift: u32, mean_shift: u32) -> u32 {
  let weight = weight_before(block, j * RUN_BINS) - weight_before(block, i * RUN_BINS);
  if (weight == 0u) {
    return 0u;
  }
  let sum = abs_wide(add_wide(sum_before(block, j * RUN_BINS), negate_wide(sum_before(block, i * RUN_BINS))));
  let mean = divide_wide(shift_left_wide(sum, mean_shift), weight);
  return shift_right_wide(multiply_wide(shift_right_wide(sum, sum_shift).x, mean), 22u).x;
}

fn cut_at(block: u32, part: u32, j: u32) -> u32 {
  return (block * 16u + part - 1u) * (RUNS + 1u) + j;
}

// Fills `borders` with the partition of the runs first to last that gains most; the first of equally good borders counts.
fn partition_runs(block: u32, entries: u32, first: u32, last: u32, magnitude_bits: u32, thread: u32) {
  let sum_shift = max(magnitude_bits, 28u) - 28u;
  let mean_shift = 25u - (32u - countLeadingZeros(atomicLoad(&farthest)));
  if (thread >= first) {
    for (var j = thread + 1u; j <= last; j++) {
      gains[(block * RUNS + thread) * RUNS + j - 1u] = gain_of(block, thread, j, sum_shift, mean_shift);
    }
  }
  storageBarrier();
  let j = thread + 1u;
  if (j > first && j <= last) {
    before[j] = gains[(block * RUNS + first) * RUNS + j - 1u];
  }
  workgroupBarrier();
  for (var part = 2u; part <= entries; part++) {
    if (j >= first + part && j <= last) {
      var cut = first + part - 1u;
      var most = before[cut] + gains[(block * RUNS + cut) * RUNS + j - 1u];
      for (var i = cut + 1u; i < j; i++) {
        let gain = before[i] + gains[(block * RUNS + i) * RUNS + j - 1u];
        if (gain > most) {
          most = gain;
          cut = i;
        }
      }
      best[j] = most;
      cuts[cut_at(block, part, j)] = cut;
    }
    workgroupBarrier();
    before[j] = best[j];
    workgroupBarrier();
  }
  storageBarrier();
  if (thread == 0u) {
    borders[0] = 0u;
    borders[entries] = BINS;
    var end = last;
    for (var part = entries; part > 1u; part--) {
      end = cuts[cut_at(block, part, end)];
      borders[part - 1u] = end * RUN_BINS;
    }
  }
  workgroupBarrier();
}

fn refine(block: u32, entries: u32, thread: u32) {
  for (var iteration = 0u; iteration < MAX_ITERATIONS; iteration++) {
    if (thread < entries && weight_before(block, borders[thread]) < weight_before(block, borders[thread + 1u])) {
      palette[thread] = mean_of(block, borders[thread], borders[thread + 1u]);
    }
    workgroupBarrier();
    if (thread == 0u) {
      moving = 0u;
      for (var k = 1u; k < entries; k++) {
        palette[k] = max(palette[k], palette[k - 1u]);
        let border = border_at((palette[k - 1u] + palette[k]) >> 1u);
        moving |= border ^ borders[k];
        borders[k] = border;
      }
    }
    if (workgroupUniformLoad(&moving) == 0u) {
      return;
    }
  }
}

// Every filled bin has an entry, the last one also what entries are left.
fn keep_all(block: u32, entries: u32) {
  var k = 0u;
  for (var i = 0u; i < BINS; i++) {
    if (histogram[(block * BINS + i) * 2u] > 0u) {
      palette[k] = mean_of(block, i, i + 1u);
      k++;
    }
  }
  for (; k > 0u && k < entries; k++) {
    palette[k] = palette[k - 1u];
  }
}

// The nearest value of 11 bits, as f16 has; the even one of two equally near.
fn round_to_half(fixed: i32) -> f32 {
  let magnitude = u32(abs(fixed));
  let shift = max(32u - countLeadingZeros(magnitude), 11u) - 11u;
  let half = (1u << shift) >> 1u;
  let rounded = (magnitude + half - u32(half > 0u && ((magnitude >> shift) & 1u) == 0u)) >> shift;
  let value = f32(rounded << shift) * (1.0 / f32(ONE));
  return select(value, -value, fixed < 0);
}

@compute @workgroup_size(RUNS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let block = workgroup.x;
  let entries = 1u << widths[block];
  if (thread == 0u) {
    atomicStore(&first_run, RUNS);
  }
  workgroupBarrier();
  let magnitude_bits = sum_bins(block, thread);
  workgroupBarrier();
  if (thread == 0u) {
    moving = atomicLoad(&filled);
  }
  if (workgroupUniformLoad(&moving) > entries) {
    let last = min(RUNS, max(atomicLoad(&last_run), atomicLoad(&first_run) + entries));
    let first = min(atomicLoad(&first_run), last - entries);
    partition_runs(block, entries, first, last, magnitude_bits, thread);
    refine(block, entries, thread);
  } else if (thread == 0u) {
    keep_all(block, entries);
  }
  workgroupBarrier();
  if (thread < entries) {
    palettes[block * 16u + thread] = round_to_half(palette[thread]);
  }
}
