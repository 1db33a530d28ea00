// threshold[t] = the lowest logit of row t that may be sampled: top-k, then top-p among the survivors, then min-p
//
// logits f32 [rows, VOCABULARY padded to 4], thresholds f32 [rows]; the rows are those of the step from state.row on. A token
// is kept when logit >= threshold, so ties at the edge of top-k stay. Top-k, top-p (nucleus, arXiv 1904.09751) and min-p (arXiv
// 2407.01082) are all a cut in the order of logits, so instead of sorting 49,152 values this searches for the cut itself:
// floats map to u32 in their own order, and each pass over the logits parts an interval of keys in 16, counts (or sums
// probabilities of) the tokens in each part, and goes on with the part that the cut is in. 8 passes at most. Every thread
// sums into 16 values of its own, so that sums do not depend on who comes first. One workgroup of 256 a row.
// #import lib/step-state
// #import lib/sampling
override VOCABULARY: u32;

@group(0) @binding(0) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read_write> thresholds: array<f32>;

const THREADS = 256u;
const PARTS = 16u;
const LANES = THREADS / PARTS;
var<workgroup> sums: array<f32, PARTS * THREADS>; // [part, thread]
var<workgroup> interval: Interval;

// Keys low to low + PARTS << shift, one part of which the cut is in.
struct Interval {
  low: u32,
  shift: u32,
  above: f32,  // of the tokens beyond it
  wanted: f32, // at least so much must be above the cut
  found: u32,  // 1: low is the cut
}

// Floats to integers of the same order.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The smallest and the largest logit.
fn extremes(row: u32, thread: u32) -> vec2<f32> {
  var smallest = vec4(3.0e38);
  var largest = vec4(-3.0e38);
  for (var i = thread; i < (VOCABULARY + 3u) / 4u; i += THREADS) {
    let four = logits[row + i];
    let inside = vec4(0u, 1u, 2u, 3u) < vec4(VOCABULARY - i * 4u);
    smallest = min(smallest, select(vec4(3.0e38), four, inside));
    largest = max(largest, select(vec4(-3.0e38), four, inside));
  }
  sums[thread] = min(min(smallest.x, smallest.y), min(smallest.z, smallest.w));
  sums[THREADS + thread] = max(max(largest.x, largest.y), max(largest.z, largest.w));
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] = min(sums[thread], sums[thread + half]);
      sums[THREADS + thread] = max(sums[THREADS + thread], sums[THREADS + thread + half]);
    }
    workgroupBarrier();
  }
  return vec2(workgroupUniformLoad(&sums[0]), workgroupUniformLoad(&sums[THREADS]));
}

fn add(inside: bool, part: u32, weight: f32, thread: u32) {
  if (inside) {
    sums[part * THREADS + thread] += weight;
  }
}

// The highest cut that still has at least `wanted` above it, of the tokens from key `low` on: that many when `counting`,
// else that share of their probability.
fn highest_cut(row: u32, low: u32, largest: f32, wanted: f32, counting: bool, thread: u32) -> u32 {
  let bits = max(32u - countLeadingZeros(key_of(largest) - low), 4u);
  var at = Interval(low, bits - 4u, 0.0, select(-1.0, wanted, counting), 0u);
  while (at.found == 0u) {
    for (var part = 0u; part < PARTS; part++) {
      sums[part * THREADS + thread] = 0.0;
    }
    for (var i = thread; i < (VOCABULARY + 3u) / 4u; i += THREADS) {
      let four = logits[row + i];
      let key = vec4(key_of(four.x), key_of(four.y), key_of(four.z), key_of(four.w));
      let part = (key - at.low) >> vec4(at.shift);
      let inside = (key >= vec4(at.low)) & (part < vec4(PARTS)) & (vec4(0u, 1u, 2u, 3u) < vec4(VOCABULARY - i * 4u));
      if (any(inside)) {
        let weight = select(exp((four - largest) / sampling.temperature), vec4(1.0), counting);
        add(inside.x, part.x, weight.x, thread);
        add(inside.y, part.y, weight.y, thread);
        add(inside.z, part.z, weight.z, thread);
        add(inside.w, part.w, weight.w, thread);
      }
    }
    workgroupBarrier();
    var sum = 0.0;
    let mine = thread / LANES * THREADS + thread % LANES;
    for (var i = 0u; i < PARTS; i++) {
      sum += sums[mine + i * LANES];
    }
    sums[mine] = sum;
    workgroupBarrier();
    if (thread < PARTS) {
      sum = 0.0;
      for (var i = 0u; i < LANES; i++) {
        sum += sums[thread * THREADS + i];
      }
      sums[thread * THREADS] = sum;
    }
    workgroupBarrier();
    if (thread == 0u) {
      interval = narrowed(at, wanted, counting);
    }
    at = workgroupUniformLoad(&interval);
  }
  return at.low;
}

// The part of the interval that the cut is in: the highest that has enough above its lower end.
fn narrowed(at: Interval, wanted: f32, counting: bool) -> Interval {
  var next = at;
  if (at.wanted < 0.0) { // the first pass sees all the probability that there is
    var all = 0.0;
    for (var part = 0u; part < PARTS; part++) {
      all += sums[part * THREADS];
    }
    next.wanted = wanted * all;
  }
  var part = PARTS - 1u;
  while (part > 0u && next.above + sums[part * THREADS] < next.wanted) {
    next.above += sums[part * THREADS];
    part--;
  }
  next.low += part << at.shift;
  // A single token in the part is the last one kept, wherever in the part it is.
  next.found = u32(at.shift == 0u || (counting && sums[part * THREADS] <= 1.0));
  next.shift = max(at.shift, 4u) - 4u;
  return next;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  if (state.row + workgroup.x >= state.count || state.done == 1u) {
    return;
  }
  let row = workgroup.x * ((VOCABULARY + 3u) / 4u);
  let range = extremes(row, thread);
  var cut = key_of(range.x);
  if (sampling.top_k > 0u && sampling.top_k < VOCABULARY) {
    cut = highest_cut(row, cut, range.y, f32(sampling.top_k), true, thread);
  }
  if (sampling.top_p < 1.0) {
    cut = highest_cut(row, cut, range.y, sampling.top_p, false, thread);
  }
  if (thread == 0u) {
    var threshold = value_of(cut);
    if (sampling.min_p > 0.0) {
      threshold = max(threshold, range.y + sampling.temperature * log(sampling.min_p));
    }
    thresholds[workgroup.x] = threshold;
  }
}
