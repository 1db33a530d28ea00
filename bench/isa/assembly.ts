/**
 * Reads what Mesa's RADV prints of a compiled shader: its statistics and its machine code (RADV_DEBUG=shaders,shaderstats),
 * in the spellings of GFX9 to GFX11.
 */

export interface Instruction {
  /** `v_fma_f32`, `buffer_load_b128`, … */
  name: string;
  operands: string;
}

export interface Loop {
  instructions: Instruction[];
}

export interface Load {
  /** Bytes a thread. */
  bytes: number;
  /** Index of the binding read, where the descriptor's way from memory to the load could be followed. */
  binding?: number;
}

export interface Assembly {
  instructions: Instruction[];
  /** Innermost loops: those without another loop inside. */
  loops: Loop[];
  /** Loads from buffers, by instruction. */
  loads: Map<Instruction, Load>;
}

/** `Label: 123` lines of the statistics. */
export function parseStatistics(text: string): Map<string, number> {
  return new Map([...text.matchAll(/^([A-Z][\w -]*): (\d+)$/gm)].map(([, label, value]) => [label, Number(value)]));
}

export function parseAssembly(text: string): Assembly {
  const instructions: Instruction[] = [];
  const labels = new Map<string, number>();
  for (const line of text.split("\n")) {
    const label = /^(BB\d+):/.exec(line);
    if (label) labels.set(label[1], instructions.length);
    const code = /^\s+([a-z]\w+)\s*([^;]*)/.exec(line);
    if (code) instructions.push({ name: code[1], operands: code[2].trim() });
  }
  return { instructions, loops: innermostLoops(instructions, labels), loads: findLoads(instructions) };
}

/** A branch back to a label closes a loop of everything between. */
function innermostLoops(instructions: Instruction[], labels: ReadonlyMap<string, number>): Loop[] {
  const spans: [start: number, end: number][] = [];
  for (const [end, { name, operands }] of instructions.entries()) {
    const start = /^s_c?branch/.test(name) ? labels.get(operands) : undefined;
    if (start !== undefined && start <= end) spans.push([start, end]);
  }
  const holds = ([start, end]: [number, number], other: [number, number]) => start <= other[0] && other[1] <= end;
  // Several branches back to one label (continue) close the same loop: the last is its end.
  const whole = spans.filter((span) => !spans.some((other) => other !== span && other[0] === span[0] && other[1] > span[1]));
  const innermost = whole.filter((span) => !whole.some((other) => other !== span && holds(span, other)));
  return innermost.map(([start, end]) => ({ instructions: instructions.slice(start, end + 1) }));
}

/**
 * Descriptors are 16 bytes each, in binding order, in one set; scalar loads fetch one or more of them into registers,
 * which a vector load then names.
 */
function findLoads(instructions: Instruction[]): Map<Instruction, Load> {
  const loads = new Map<Instruction, Load>();
  const descriptors = new Map<number, number>(); // first scalar register -> binding
  for (const instruction of instructions) {
    const { name, operands } = instruction;
    const scalar = /^s_load_(?:b|dwordx)(\d+)$/.exec(name);
    if (scalar) {
      const [, register, offset] = /^s\[(\d+):\d+\], s\[\d+:\d+\], (\w+)/.exec(operands) ?? [];
      const words = Number(scalar[1]) / (name.includes("dword") ? 1 : 32);
      const first = offset === "null" || offset === "off" ? 0 : Number(offset) / 16;
      for (let i = 0; i < words; i += 4) descriptors.set(Number(register) + i, first + i / 4);
    }
    const bytes = loadedBytes(name);
    if (bytes === undefined) continue;
    const register = /\bs\[(\d+):\d+\]/.exec(operands)?.[1];
    loads.set(instruction, { bytes, binding: register === undefined ? undefined : descriptors.get(Number(register)) });
  }
  return loads;
}

function loadedBytes(name: string): number | undefined {
  const [, width] = /^(?:buffer|global|flat)_load_(\w+)$/.exec(name) ?? [];
  if (width === undefined) return undefined;
  const bits = /^b(\d+)$/.exec(width);
  if (bits) return Number(bits[1]) / 8;
  const words = /^dword(?:x(\d))?$/.exec(width);
  if (words) return 4 * Number(words[1] ?? 1);
  return /8|byte/.test(width) ? 1 : 2;
}

export const isVector = ({ name }: Instruction): boolean => name.startsWith("v_");
/** Reads and writes of workgroup memory. */
export const isLds = ({ name }: Instruction): boolean => name.startsWith("ds_");
