// token = argmax of the workgroups' candidates; the step state moves on by one token
//
// best [CANDIDATES] (sample-gumbel); results u32 [steps]: the sampled ids in order, read back by the host once a submit;
// tokens u32 [T]: tokens[0] is the next step's input. After a stop token nothing moves any more: later steps of the same
// submit repeat themselves and the host discards them. One thread.
// #import lib/step-state
// #import lib/sampling
override CANDIDATES: u32;

@group(0) @binding(0) var<storage, read> best: array<Candidate>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read_write> state: StepState;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> results: array<u32>;

@compute @workgroup_size(1)
fn main() {
  if (state.done != 0u) {
    return;
  }
  var winner = best[0];
  for (var i = 1u; i < CANDIDATES; i++) {
    winner = better(winner, best[i]);
  }
  results[state.sampled] = winner.id;
  state.sampled += 1u;
  state.token = winner.id;
  tokens[0] = winner.id;
  state.position += state.count;
  state.count = 1u;
  state.row = 0u;
  for (var i = 0u; i < sampling.stops; i++) {
    if (sampling.stop_ids[i / 4u][i % 4u] == winner.id) {
      state.done = 1u;
    }
  }
}
