/**
 * Twin of sample-pick: the best of the candidates, and how the step moves on.
 *
 *   token = argmax of scores (the lowest id wins ties);  position += count;  count = 1;  done = token is a stop id
 *
 * After a stop token nothing changes any more.
 */
export interface StepState {
  position: number;
  count: number;
  sampled: number;
  done: boolean;
}

export function samplePick(
  candidates: readonly { score: number; id: number }[],
  stopIds: readonly number[],
  state: StepState,
): { token: number | undefined; state: StepState } {
  if (state.done) return { token: undefined, state };
  let winner = candidates[0];
  for (const candidate of candidates) {
    if (candidate.score > winner.score || (candidate.score === winner.score && candidate.id < winner.id)) winner = candidate;
  }
  const { id } = winner;
  return {
    token: id,
    state: { position: state.position + state.count, count: 1, sampled: state.sampled + 1, done: stopIds.includes(id) },
  };
}
