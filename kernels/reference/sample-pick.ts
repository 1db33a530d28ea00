/**
 * Twin of sample-pick: the best of each row's candidates as far as the rows count, and how the step moves on.
 *
 *   token[t] = argmax of the scores of row t (the lowest id wins ties);  done = the last token is a stop id
 *
 * Row t is row `row + t` of the step. Row t + 1 counts only where its input is token[t], and no stop token came before it. The
 * position moves behind the last row that counts; the next step is one token's. After a stop token nothing changes any more.
 */
export interface StepState {
  position: number;
  count: number;
  row: number;
  sampled: number;
  done: boolean;
}

export interface SamplePickArgs {
  /** Candidates of each row. */
  rows: readonly (readonly { score: number; id: number }[])[];
  /** Ids of the step, [count]. */
  inputs: readonly number[];
  stopIds: readonly number[];
  state: StepState;
}

export function samplePick({ rows, inputs, stopIds, state }: SamplePickArgs): { tokens: number[]; state: StepState } {
  const tokens: number[] = [];
  if (state.done) return { tokens, state };
  let { row } = state;
  let done = false;
  for (const candidates of rows) {
    const best = Math.max(...candidates.map(({ score }) => score));
    const token = Math.min(...candidates.filter(({ score }) => score === best).map(({ id }) => id));
    tokens.push(token);
    done = stopIds.includes(token);
    row++;
    if (done || row >= state.count || inputs[row] !== token) break;
  }
  return { tokens, state: { position: state.position + row, count: 1, row: 0, sampled: state.sampled + tokens.length, done } };
}
