/** Seeded random numbers for the compiler's tests: the same on every run. */
export function makeRandom(seed: number) {
  let state = seed >>> 0;
  /** [0, 1), mulberry32. */
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {
    uniform,
    normal,
    /** An integer of [0, n). */
    below: (n: number): number => Math.floor(uniform() * n),
    normals: (length: number): Float32Array => Float32Array.from({ length }, normal),
  };
}
