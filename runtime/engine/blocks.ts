/** Both ends of the model: the embedding, and the head. Which kernel runs depends on how the table is kept. */

import type { AdapterBuffers } from "../../kernels/adapter-terms";
import { MOST_FEW, type Recorder } from "../../kernels/define-kernel";
import { embedDense } from "../../kernels/embed-dense";
import { embedRotate } from "../../kernels/embed-rotate";
import { headInt8 } from "../../kernels/head-int8";
import { matvecDense } from "../../kernels/matvec-dense";
import type { ModelConfig } from "./config";
import type { StepBuffers } from "./step-buffers";
import type { LayerWeights, ModelWeights, TableWeights } from "./weights";

/** Where an operation is recorded, and for how many tokens. */
export interface StepAt {
  recorder: Recorder;
  step: StepBuffers;
  tokens: number;
  /** Where adapters add to the linears. */
  adapted?: Adapted;
}

/** In one layer. */
export interface LayerAt extends StepAt {
  layer: number;
  linears: LayerWeights;
}

export interface Adapted {
  config: ModelConfig;
  adapters: AdapterBuffers;
}

/** `x` = the embeddings of the step's ids, in the basis of the residual stream. */
export function embed({ recorder, step, tokens }: StepAt, { embedding, rotation }: ModelWeights): void {
  const { ids, state, x, x8, strides } = step;
  const int8 = step.int8 && tokens <= MOST_FEW;
  const args = { ids, state, x, stride: strides.x, tokens };
  if ("rowScale" in embedding) embedRotate(recorder, { embedding, rotation, x8, int8, ...args });
  else embedDense(recorder, { table: embedding, ...args });
}

/** `logits` [T, V padded to 4] = head times each row of `last` [T, D]; at most MOST_FEW tokens. */
export function applyHead({ recorder, step, tokens }: StepAt, head: TableWeights): void {
  const { last, state, logits } = step;
  if ("rowScale" in head) headInt8(recorder, { head, x: last, state, logits, tokens });
  else matvecDense(recorder, { matrix: head, x: last, state, y: logits, tokens });
}
