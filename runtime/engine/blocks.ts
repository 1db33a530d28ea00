/** Both ends of the model: the embedding, and the head. Which kernel runs depends on how the table is kept. */
import type { Recorder } from "../../kernels/define-kernel";
import { embedDense } from "../../kernels/embed-dense";
import { embedRotate } from "../../kernels/embed-rotate";
import { headInt8 } from "../../kernels/head-int8";
import { matvecDense } from "../../kernels/matvec-dense";
import type { StepBuffers } from "./step-buffers";
import type { ModelWeights, TableWeights } from "./weights";

/** Where an operation is recorded, and for how many tokens. */
export interface StepAt {
  recorder: Recorder;
  step: StepBuffers;
  tokens: number;
}

/** `x` = the embeddings of the step's ids, in the basis of the residual stream. */
export function embed({ recorder, step, tokens }: StepAt, { embedding, rotation }: ModelWeights): void {
  const { ids, state, x, strides } = step;
  const args = { ids, state, x, stride: strides.x, tokens };
  if ("rowScale" in embedding) embedRotate(recorder, { embedding, rotation, ...args });
  else embedDense(recorder, { table: embedding, ...args });
}

/** `logits` = head times `last`. */
export function applyHead(recorder: Recorder, { last, state, logits }: StepBuffers, head: TableWeights): void {
  if ("rowScale" in head) headInt8(recorder, { head, x: last, state, logits });
  else matvecDense(recorder, { matrix: head, x: last, state, y: logits });
}
