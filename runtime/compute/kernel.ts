/**
 * The inner loop of the compiler's matrix products, in WebAssembly where the page's content security policy lets it compile and
 * in JavaScript elsewhere: slower, the same bits.
 */
import bytes from "./accumulate.wat";

/** Columns of B, and values of a row of C. */
export const LANES = 8;
/** Rows of A that share each load. */
export const ROWS = 4;

/** A memory of floats and the product that works inside it. Offsets and strides count floats. */
export interface Kernel {
  /** The memory, at least `floats` long. What it held stays; an array from before a growth does not. */
  reserve(floats: number): Float32Array;
  /**
   * C += A B: c[m][lane] += A(m, k) * b[k][lane], k rising, each product and sum rounded to f32.
   * @param a A(m, k) stands at a + m * am + k * ak. Rows up to the next multiple of 4 are read, and as many of C are written.
   * @param b [k][8]
   * @param c [m][8]
   */
  accumulate(a: number, am: number, ak: number, b: number, c: number, m: number, k: number): void;
}

type Exports = { memory: WebAssembly.Memory; accumulate: Kernel["accumulate"] };

const PAGE_FLOATS = 65536 / 4;

/** @throws CompileError where WebAssembly or its SIMD is refused. */
export function wasmKernel(): Kernel {
  // A few hundred bytes: browsers compile that much on the spot.
  const { memory, accumulate } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as unknown as Exports;
  let floats = new Float32Array(memory.buffer);
  return {
    reserve(length) {
      if (length > floats.length) {
        memory.grow(Math.ceil((length - floats.length) / PAGE_FLOATS));
        floats = new Float32Array(memory.buffer);
      }
      return floats;
    },
    accumulate: (a, am, ak, b, c, m, k) => accumulate(a * 4, am * 4, ak * 4, b * 4, c * 4, m, k),
  };
}

/** The twin. */
export function scriptKernel(): Kernel {
  const { fround } = Math;
  let floats = new Float32Array(PAGE_FLOATS);
  return {
    reserve(length) {
      if (length > floats.length) {
        const before = floats;
        floats = new Float32Array(length);
        floats.set(before);
      }
      return floats;
    },
    accumulate(a, am, ak, b, c, m, k) {
      const memory = floats;
      for (let row = 0; row < m; row++, a += am, c += LANES) {
        for (let half = 0; half < LANES; half += 4) {
          let c0 = memory[c + half];
          let c1 = memory[c + half + 1];
          let c2 = memory[c + half + 2];
          let c3 = memory[c + half + 3];
          for (let i = 0, at = a, bk = b + half; i < k; i++, at += ak, bk += LANES) {
            const value = memory[at];
            c0 = fround(c0 + fround(value * memory[bk]));
            c1 = fround(c1 + fround(value * memory[bk + 1]));
            c2 = fround(c2 + fround(value * memory[bk + 2]));
            c3 = fround(c3 + fround(value * memory[bk + 3]));
          }
          memory[c + half] = c0;
          memory[c + half + 1] = c1;
          memory[c + half + 2] = c2;
          memory[c + half + 3] = c3;
        }
      }
    },
  };
}

/** Of this thread. Two uses have two memories, where one of them keeps something in its own. */
const kernels = new Map<string, Kernel>();

export function kernelFor(use: "multiply" | "feedback"): Kernel {
  let kernel = kernels.get(use);
  if (!kernel) {
    try {
      kernel = wasmKernel();
    } catch {
      kernel = scriptKernel();
    }
    kernels.set(use, kernel);
  }
  return kernel;
}
