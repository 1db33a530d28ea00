/** hidden = silu(gate) up, with silu(g) = g / (1 + exp(-g)). */

/** gate, up [T, F]; [T, F]. */
export function swiglu(gate: Float32Array, up: Float32Array): Float32Array {
  return gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
}

export function swigluBack(
  gate: Float32Array,
  up: Float32Array,
  dHidden: Float32Array,
): { dGate: Float32Array; dUp: Float32Array } {
  const dGate = new Float32Array(gate.length);
  const dUp = new Float32Array(gate.length);
  for (let i = 0; i < gate.length; i++) {
    const sigmoid = 1 / (1 + Math.exp(-gate[i]));
    dUp[i] = dHidden[i] * gate[i] * sigmoid;
    dGate[i] = dHidden[i] * up[i] * sigmoid * (1 + gate[i] * (1 - sigmoid));
  }
  return { dGate, dUp };
}
