// What changes from step to step, kept on the GPU so that many decode steps go into one submit.
struct StepState {
  position: u32, // position of row 0 of this step in the sequence
  count: u32,    // rows (tokens) of this step
  row: u32,      // the first row whose hidden state goes to the head; those after it follow it there
  sampled: u32,  // tokens sampled since the host last reset it: index into the output ring
  done: u32,     // 1 once a stop token was sampled: every kernel of a later step returns at once
  token: u32,    // the token sampled last
}
