/** One layer with folded norms on one window, forward and back, whatever its linears are. */
import type { LinearName } from "../formats/palettized";
import { type Attended, type AttentionShape, attention, attentionBack } from "./attention";
import { addTo } from "./matrix";
import { type Normed, norm, normBack } from "./norm";
import { swiglu, swigluBack } from "./swiglu";

export interface LayerShape extends AttentionShape {
  D: number;
  normEps: number;
}

/** What the gradient needs. */
export interface LayerTrace {
  attentionNorm: Normed;
  attended: Attended;
  mlpNorm: Normed;
  gate: Float32Array;
  up: Float32Array;
  hidden: Float32Array;
}

/**
 * @param x [T, D], the residual stream; it then stands behind the layer.
 * @param apply One linear: [T, cols] to [T, rows].
 */
export function layerForward(
  x: Float32Array,
  shape: LayerShape,
  apply: (linear: LinearName, input: Float32Array) => Float32Array,
): LayerTrace {
  const { D, normEps } = shape;
  const attentionNorm = norm(x, D, normEps);
  const q = apply("self_attn.q_proj", attentionNorm.y);
  const k = apply("self_attn.k_proj", attentionNorm.y);
  const attended = attention(q, k, apply("self_attn.v_proj", attentionNorm.y), shape);
  addTo(x, apply("self_attn.o_proj", attended.y));

  const mlpNorm = norm(x, D, normEps);
  const gate = apply("mlp.gate_proj", mlpNorm.y);
  const up = apply("mlp.up_proj", mlpNorm.y);
  const hidden = swiglu(gate, up);
  addTo(x, apply("mlp.down_proj", hidden));
  return { attentionNorm, attended, mlpNorm, gate, up, hidden };
}

/**
 * @param dx [T, D], the gradient by the stream behind the layer; it becomes that before it.
 * @param back One linear's way back: its input as it went forward, and the gradient by its output, to that by its input.
 */
export function layerBack(
  { attentionNorm, attended, mlpNorm, gate, up, hidden }: LayerTrace,
  dx: Float32Array,
  shape: LayerShape,
  back: (linear: LinearName, input: Float32Array, dy: Float32Array) => Float32Array,
): void {
  const { dGate, dUp } = swigluBack(gate, up, back("mlp.down_proj", hidden, dx));
  const dMlp = back("mlp.gate_proj", mlpNorm.y, dGate);
  addTo(dMlp, back("mlp.up_proj", mlpNorm.y, dUp));
  addTo(dx, normBack(mlpNorm, dMlp));

  const { dq, dk, dv } = attentionBack(attended, back("self_attn.o_proj", attended.y, dx), shape);
  const dAttention = back("self_attn.q_proj", attentionNorm.y, dq);
  addTo(dAttention, back("self_attn.k_proj", attentionNorm.y, dk));
  addTo(dAttention, back("self_attn.v_proj", attentionNorm.y, dv));
  addTo(dx, normBack(attentionNorm, dAttention));
}
