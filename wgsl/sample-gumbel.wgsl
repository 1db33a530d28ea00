// best[t, w] = argmax over this workgroup's tokens of logit / temperature + gumbel(seed, position, id), logit >= threshold[t]
//
// Gumbel-max: adding independent Gumbel noise and taking the argmax samples exactly from the softmax, in one pass and with no
// sort or sum (arXiv 1611.01144, section 2). Temperature 0 is the plain argmax, the lowest id winning ties.
// Noise is a hash of (seed, position, id): the same seed gives the same text, however many rows a step has.
// logits f32 [rows, VOCABULARY padded to 4], thresholds f32 [rows], best [rows, workgroups.x]; the rows are those of the step
// from state.row on, and position is where the sampled token will stand.
// #import lib/step-state
// #import lib/sampling
override VOCABULARY: u32;
override PER_WORKGROUP: u32; // tokens of a workgroup

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read> state: StepState;
@group(0) @binding(3) var<storage, read> thresholds: array<f32>;
@group(0) @binding(4) var<storage, read_write> best: array<Candidate>;

const THREADS = 64u;
var<workgroup> candidates: array<Candidate, THREADS>;

// PCG output permutation (Jarzynski and Olano, jcgt.org 9(3), 2020).
fn pcg(value: u32) -> u32 {
  let state = value * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

fn gumbel(position: u32, id: u32) -> f32 {
  let hash = pcg(sampling.seed ^ pcg(position ^ pcg(id)));
  let uniform01 = (f32(hash >> 9u) + 0.5) / 8388608.0; // 23 bits and a half: exact in f32, never 0 or 1
  return -log(-log(uniform01));
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup.y;
  if (state.row + row >= state.count || state.done == 1u) {
    return;
  }
  let position = state.position + state.row + row + 1u;
  let start = row * ((VOCABULARY + 3u) / 4u * 4u);
  let end = min((workgroup.x + 1u) * PER_WORKGROUP, VOCABULARY);
  var mine = Candidate(-3.0e38, 0xffffffffu);
  for (var id = workgroup.x * PER_WORKGROUP + thread; id < end; id += THREADS) {
    var score = logits[start + id];
    if (sampling.filtered == 0u || score >= thresholds[row]) {
      if (sampling.temperature > 0.0) {
        score = score / sampling.temperature + gumbel(position, id);
      }
      mine = better(mine, Candidate(score, id));
    }
  }
  candidates[thread] = mine;
  workgroupBarrier();
  if (thread == 0u) {
    for (var i = 1u; i < THREADS; i++) {
      mine = better(mine, candidates[i]);
    }
    best[row * workgroups.x + workgroup.x] = mine;
  }
}
