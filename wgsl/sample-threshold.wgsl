// threshold = the lowest logit that may be sampled: top-k, then top-p among the survivors, then min-p
//
// logits f32 [VOCABULARY] (padded to 4), threshold into the step state. A token is kept when logit >= threshold, so ties at the
// edge of top-k stay. Top-k, top-p (nucleus, arXiv 1904.09751) and min-p (arXiv 2407.01082) are all a cut in the order of
// logits, so instead of sorting 49,152 values this bisects the cut itself: floats map to u32 in their own order, and each
// pass halves an interval by counting (or summing probabilities of) the values above its middle. One workgroup of 256.
// #import lib/step-state
// #import lib/sampling
override VOCABULARY: u32;

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read_write> state: StepState;

const THREADS = 256u;
var<workgroup> sums: array<f32, THREADS>;

// Floats to integers of the same order.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

fn workgroup_sum(value: f32, thread: u32) -> f32 {
  sums[thread] = value;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
    workgroupBarrier();
  }
  let sum = workgroupUniformLoad(&sums[0]);
  workgroupBarrier();
  return sum;
}

fn workgroup_max(value: f32, thread: u32) -> f32 {
  sums[thread] = value;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] = max(sums[thread], sums[thread + half]);
    }
    workgroupBarrier();
  }
  let largest = workgroupUniformLoad(&sums[0]);
  workgroupBarrier();
  return largest;
}

// How much of the vocabulary has key >= cut (and >= floor): tokens when `counting`, else their probability mass
// relative to the largest logit.
fn above(cut: u32, floor: u32, counting: bool, largest: f32, thread: u32) -> f32 {
  var sum = 0.0;
  for (var i = thread; i < VOCABULARY; i += THREADS) {
    let key = key_of(logits[i]);
    if (key >= cut && key >= floor) {
      sum += select(exp((logits[i] - largest) / sampling.temperature), 1.0, counting);
    }
  }
  return workgroup_sum(sum, thread);
}

// The highest cut that still has at least `wanted` above it.
fn highest_cut(floor: u32, wanted: f32, counting: bool, largest: f32, thread: u32) -> u32 {
  var low = floor;
  var high = key_of(largest);
  while (low < high) {
    let middle = high - (high - low) / 2u;
    if (above(middle, floor, counting, largest, thread) >= wanted) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  return low;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  var local_largest = -3.0e38;
  for (var i = thread; i < VOCABULARY; i += THREADS) {
    local_largest = max(local_largest, logits[i]);
  }
  let largest = workgroup_max(local_largest, thread);
  var cut = key_of(-3.0e38);
  if (sampling.top_k > 0u && sampling.top_k < VOCABULARY) {
    cut = highest_cut(cut, f32(sampling.top_k), true, largest, thread);
  }
  if (sampling.top_p < 1.0) {
    let mass = above(cut, cut, false, largest, thread);
    cut = highest_cut(cut, sampling.top_p * mass, false, largest, thread);
  }
  if (thread == 0u) {
    var threshold = value_of(cut);
    if (sampling.min_p > 0.0) {
      threshold = max(threshold, largest + sampling.temperature * log(sampling.min_p));
    }
    state.threshold = threshold;
  }
}
