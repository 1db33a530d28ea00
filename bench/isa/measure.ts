/** From the driver's output to one row of the table for every kernel. */
import { type Assembly, isLds, isVector, type Loop, parseAssembly, parseStatistics } from "./assembly";
import { DRIVER_MARK, MARK } from "./compile";

/** The inner loop of a matvec, per weight at 4 bits (head: 8). */
export interface LoopCost {
  /** Weights of one iteration of one thread. */
  weights: number;
  valu: number;
  loads: number;
  lds: number;
  /** Loads of weights in one iteration, as `plane0: 4 x 16`: count x bytes. */
  weightLoads: Record<string, string>;
  /** Bytes of the narrowest load of weights. */
  narrowest: number;
}

export interface Row {
  family: string;
  shape: string;
  kernel: string;
  use: string;
  pairs: string;
  variant: string;
  vgprs: number;
  spilledVgprs: number;
  spilledSgprs: number;
  scratchBytes: number;
  ldsBytes: number;
  /** Subgroups that a SIMD can hold at once. */
  occupancy: number;
  instructions: number;
  valu: number;
  /** Loads from buffers in the code by bytes a thread: [up to 4, 8, 12 and 16]. */
  loads: [number, number, number];
  loop?: LoopCost;
}

/** Where a kernel's weights come from, and bits a weight (palettized linears: of a 4-bit block). */
const WEIGHTS: Record<string, { bindings: string[]; bits: number }> = {
  "matvec-palette": { bindings: ["plane0", "plane1", "plane2"], bits: 4 },
  "matvec-swiglu-palette": { bindings: ["plane0", "plane1", "plane2"], bits: 4 },
  "matvec-palette-int8": { bindings: ["plane0", "plane1", "plane2"], bits: 4 },
  "matvec-swiglu-palette-int8": { bindings: ["plane0", "plane1", "plane2"], bits: 4 },
  "affine-yardstick": { bindings: ["codes"], bits: 4 },
  "head-int8": { bindings: ["table"], bits: 8 },
};

/** The driver's version as it names itself, `25.0.7`. */
export function mesaVersion(output: string): string {
  return new RegExp(`^${DRIVER_MARK}.*Mesa (\\d+\\.\\d+\\.\\d+)`, "m").exec(output)?.[1] ?? "unknown";
}

/** @throws Error where the driver printed no code or no statistics for a compilation. */
export function measure(family: string, output: string): Row[] {
  return output
    .split(MARK)
    .slice(1)
    .map((part) => {
      const end = part.indexOf("\n");
      const { bindings, ...what } = JSON.parse(part.slice(0, end));
      const text = part.slice(end);
      const statistics = parseStatistics(text);
      const statistic = (label: string): number => {
        const value = statistics.get(label);
        if (value === undefined) throw new Error(`[isa] the driver printed no "${label}" for ${what.kernel} on ${family}.`);
        return value;
      };
      const code = parseAssembly(text.slice(text.indexOf("\ndisasm:"), text.indexOf("*** SHADER STATS")));
      const widths = [...code.loads.values()].map(({ bytes }) => bytes);
      const count = (test: (bytes: number) => boolean) => widths.filter(test).length;
      return {
        family,
        ...what,
        vgprs: statistic("VGPRs"),
        spilledVgprs: statistic("Spilled VGPRs"),
        spilledSgprs: statistic("Spilled SGPRs"),
        scratchBytes: statistic("Scratch size"),
        ldsBytes: statistic("LDS size"),
        occupancy: statistic("Subgroups per SIMD"),
        instructions: statistic("Instructions"),
        valu: statistic("VALU"),
        loads: [count((b) => b <= 4), count((b) => b === 8), count((b) => b > 8)],
        loop: innerLoop(code, bindings, WEIGHTS[what.kernel]),
      };
    });
}

/** The loop that reads the most weights: where a kernel has one for every width, the 4-bit one. */
function innerLoop(code: Assembly, names: string[], weights?: { bindings: string[]; bits: number }): LoopCost | undefined {
  if (!weights) return undefined;
  const candidates = code.loops.map((loop) => loopCost(loop, code, names, weights));
  return candidates.reduce((most, loop) => (loop.weights > most.weights ? loop : most));
}

function loopCost({ instructions }: Loop, { loads }: Assembly, names: string[], weights: { bindings: string[]; bits: number }) {
  const all = instructions.flatMap((instruction) => loads.get(instruction) ?? []);
  const weightLoads: Record<string, string> = {};
  let bytes = 0;
  let narrowest = 16;
  for (const name of weights.bindings) {
    const widths = all.filter(({ binding }) => binding === names.indexOf(name)).map((load) => load.bytes);
    if (widths.length === 0) continue;
    bytes += widths.reduce((sum, width) => sum + width, 0);
    narrowest = Math.min(narrowest, ...widths);
    const distinct = [...new Set(widths)].sort((a, b) => a - b);
    weightLoads[name] = distinct.map((width) => `${widths.filter((w) => w === width).length} x ${width}`).join(" + ");
  }
  const count = (bytes * 8) / weights.bits;
  const each = (total: number) => Number((total / count).toFixed(3));
  return {
    weights: count,
    valu: each(instructions.filter(isVector).length),
    loads: each(all.length),
    lds: each(instructions.filter(isLds).length),
    weightLoads,
    narrowest,
  };
}
