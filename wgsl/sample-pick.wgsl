// token[t] = argmax of the workgroups' candidates of row t; the step state moves on behind the last token that counts
//
// best [rows, CANDIDATES] (sample-gumbel), the rows being those of the step from state.row on; results u32 [tokens]: the
// sampled ids in order, read back by the host once a submit; tokens u32 [T]: the inputs of the step, of which tokens[0] becomes
// the next step's. A step may have run ahead on guesses (speculative decoding, arXiv 2211.17192): row t + 1 counts only
// where its input is what was sampled from row t, and no stop token was. After a stop token nothing moves any more: later steps
// of the same submit return at once. One thread.
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
  var row = state.row;
  for (var t = 0u; ; t++) {
    var winner = best[t * CANDIDATES];
    for (var i = 1u; i < CANDIDATES; i++) {
      winner = better(winner, best[t * CANDIDATES + i]);
    }
    results[state.sampled] = winner.id;
    state.sampled += 1u;
    state.token = winner.id;
    for (var i = 0u; i < sampling.stops; i++) {
      if (sampling.stop_ids[i / 4u][i % 4u] == winner.id) {
        state.done = 1u;
      }
    }
    row += 1u;
    if (state.done == 1u || row >= state.count || tokens[row] != winner.id) {
      break;
    }
  }
  tokens[0] = state.token;
  state.position += row;
  state.count = 1u;
  state.row = 0u;
}
