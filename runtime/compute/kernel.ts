/**
 * The inner loop of the compiler's matrix products, in WebAssembly where the page's content security policy lets it compile and
 * in JavaScript elsewhere: slower, the same bits.
 */
import bytes from "./accumulate.wat";

/** Columns of B, and values of a row of C: in f32, and in f64. */
export const LANES = 8;
export const DOUBLE_LANES = 4;
/** Rows of A that share each load. */
export const ROWS = 4;

/** A memory of numbers and the product that works inside it. Offsets and strides count numbers. */
export interface Kernel<Numbers extends Float32Array | Float64Array = Float32Array> {
  /** The memory, at least `length` long. What it held stays; an array from before a growth does not. */
  reserve(length: number): Numbers;
  /**
   * C += A B: c[m][lane] += A(m, k) * b[k][lane], k rising, each product and sum rounded.
   * @param a A(m, k) stands at a + m * am + k * ak. Rows up to the next multiple of 4 are read, and as many of C are written.
   * @param b [k][lanes]
   * @param c [m][lanes]
   * @param k At least 1.
   */
  accumulate(a: number, am: number, ak: number, b: number, c: number, m: number, k: number): void;
}

type Accumulate = Kernel["accumulate"];
type Exports = { memory: WebAssembly.Memory; accumulate: Accumulate; accumulateDoubles: Accumulate };

const PAGE_BYTES = 65536;

/** @throws CompileError where WebAssembly or its SIMD is refused. */
function instantiate(): Exports {
  // Less than a kilobyte: browsers compile that on the spot, on any thread.
  return new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as unknown as Exports;
}

function grow(memory: WebAssembly.Memory, bytes: number): ArrayBuffer {
  const missing = bytes - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
  return memory.buffer;
}

/** @throws CompileError where WebAssembly or its SIMD is refused. */
export function wasmKernel(): Kernel {
  const { memory, accumulate } = instantiate();
  return {
    reserve: (length) => new Float32Array(grow(memory, length * 4)),
    accumulate: (a, am, ak, b, c, m, k) => accumulate(a * 4, am * 4, ak * 4, b * 4, c * 4, m, k),
  };
}

/** @throws CompileError where WebAssembly or its SIMD is refused. */
export function wasmDoubleKernel(): Kernel<Float64Array> {
  const { memory, accumulateDoubles } = instantiate();
  return {
    reserve: (length) => new Float64Array(grow(memory, length * 8)),
    accumulate: (a, am, ak, b, c, m, k) => accumulateDoubles(a * 8, am * 8, ak * 8, b * 8, c * 8, m, k),
  };
}

/** The twin in f32. */
export function scriptKernel(): Kernel {
  const { fround } = Math;
  let memory = new Float32Array(0);
  return {
    reserve(length) {
      if (length > memory.length) {
        const before = memory;
        memory = new Float32Array(length);
        memory.set(before);
      }
      return memory;
    },
    accumulate(a, am, ak, b, c, m, k) {
      const floats = memory;
      for (let row = 0; row < m; row++, a += am, c += LANES) {
        for (let half = 0; half < LANES; half += 4) {
          let c0 = floats[c + half];
          let c1 = floats[c + half + 1];
          let c2 = floats[c + half + 2];
          let c3 = floats[c + half + 3];
          for (let i = 0, at = a, bk = b + half; i < k; i++, at += ak, bk += LANES) {
            const value = floats[at];
            c0 = fround(c0 + fround(value * floats[bk]));
            c1 = fround(c1 + fround(value * floats[bk + 1]));
            c2 = fround(c2 + fround(value * floats[bk + 2]));
            c3 = fround(c3 + fround(value * floats[bk + 3]));
          }
          floats[c + half] = c0;
          floats[c + half + 1] = c1;
          floats[c + half + 2] = c2;
          floats[c + half + 3] = c3;
        }
      }
    },
  };
}

/** The twin in f64. */
export function scriptDoubleKernel(): Kernel<Float64Array> {
  let memory = new Float64Array(0);
  return {
    reserve(length) {
      if (length > memory.length) {
        const before = memory;
        memory = new Float64Array(length);
        memory.set(before);
      }
      return memory;
    },
    accumulate(a, am, ak, b, c, m, k) {
      const doubles = memory;
      for (let row = 0; row < m; row++, a += am, c += DOUBLE_LANES) {
        let c0 = doubles[c];
        let c1 = doubles[c + 1];
        let c2 = doubles[c + 2];
        let c3 = doubles[c + 3];
        for (let i = 0, at = a, bk = b; i < k; i++, at += ak, bk += DOUBLE_LANES) {
          const value = doubles[at];
          c0 += value * doubles[bk];
          c1 += value * doubles[bk + 1];
          c2 += value * doubles[bk + 2];
          c3 += value * doubles[bk + 3];
        }
        doubles[c] = c0;
        doubles[c + 1] = c1;
        doubles[c + 2] = c2;
        doubles[c + 3] = c3;
      }
    },
  };
}

/** Those of this thread. Two uses have two memories, for one of them keeps something in its own. */
const made = { multiply: once(wasmKernel, scriptKernel), feedback: once(wasmKernel, scriptKernel) };
const doubles = once(wasmDoubleKernel, scriptDoubleKernel);

export const kernelFor = (use: keyof typeof made): Kernel => made[use]();
export const doubleKernel = (): Kernel<Float64Array> => doubles();

function once<K>(first: () => K, otherwise: () => K): () => K {
  let kernel: K | undefined;
  return () => {
    if (kernel) return kernel;
    try {
      kernel = first();
    } catch {
      kernel = otherwise();
    }
    return kernel;
  };
}
