import type { KernelReport } from "../runtime/index";

/** Numbers as a reader wants them: three digits, a unit, and a dash for what was not measured. */
const NOT_MEASURED = "–";

function threeDigits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

/** Decimal units, as download managers and disk tools count them. */
export function formatBytes(bytes: number | undefined): string {
  if (bytes === undefined) return NOT_MEASURED;
  if (bytes < 1000) return `${bytes} B`;
  const unit = Math.min(2, Math.floor(Math.log10(bytes) / 3) - 1);
  return `${threeDigits(bytes / 1000 ** (unit + 1))} ${["kB", "MB", "GB"][unit]}`;
}

export function formatMs(ms: number | undefined): string {
  if (ms === undefined) return NOT_MEASURED;
  return ms < 1000 ? `${threeDigits(ms)} ms` : `${threeDigits(ms / 1000)} s`;
}

/** Roughly: "12 s", "about 3 min". */
export function formatDuration(seconds: number): string {
  return seconds < 60 ? `${Math.max(1, Math.round(seconds))} s` : `about ${Math.round(seconds / 60)} min`;
}

export function formatRate(tokensPerSecond: number | undefined): string {
  return tokensPerSecond === undefined ? NOT_MEASURED : `${threeDigits(tokensPerSecond)} tok/s`;
}

export function formatCount(count: number): string {
  return count.toLocaleString("en");
}

/** 134515008 becomes "135M". */
export function formatParameters(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)}B` : `${Math.round(count / 1e6)}M`;
}

const SOURCES: Record<KernelReport["source"], string> = {
  prior: "by what the GPU says of itself",
  tuned: "measured here",
  stored: "measured here in an earlier load",
};

/** "int8, 16 threads a row, measured here in 310 ms" */
export function describeKernels({ choice, source, tunedMs }: KernelReport): string {
  const { software, int8, f32Pairs, lanes } = choice;
  const arithmetic = int8 ? "int8" : f32Pairs && !software ? "f32 tables" : "f16 tables";
  const threads = software ? "one thread a row" : lanes > 0 ? `${lanes} threads a row` : "threads a row by its width";
  const measured = tunedMs === undefined ? "" : source === "tuned" ? ` in ${formatMs(tunedMs)}` : "; measuring decided nothing";
  return `${arithmetic}, ${threads}, ${SOURCES[source]}${measured}`;
}
