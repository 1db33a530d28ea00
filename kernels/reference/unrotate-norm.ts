/**
 * Twin of unrotate-norm: the last hidden state back in the head's own basis, normed.
 *
 *   y = (x R1^T) / sqrt(mean(x^2) + eps) * weight
 */
import { rmsInverse } from "./rms-inverse";
import { type Rotation, unrotate } from "./rotate";

export interface UnrotateNormArgs {
  /** [D]. */
  x: ArrayLike<number>;
  /** The final norm's, [D]. */
  weight: ArrayLike<number>;
  eps: number;
  /** R1; absent where the model runs unrotated. */
  rotation?: Rotation;
}

/** [D]. */
export function unrotateNorm({ x, weight, eps, rotation }: UnrotateNormArgs): Float64Array {
  const [scale] = rmsInverse({ x, D: x.length, eps });
  const y = rotation ? unrotate(rotation, x) : Float64Array.from(x);
  for (let c = 0; c < y.length; c++) y[c] *= scale * weight[c];
  return y;
}
