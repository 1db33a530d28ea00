/** Of repeated measurements of one thing. */
export interface Spread {
  /** Of the sample (n - 1); 0 for one measurement. */
  standardDeviation: number;
  min: number;
  max: number;
}

/** Undefined for none. */
export function mean(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Undefined for none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return mean(sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1));
}

/** Undefined for none. */
export function spread(values: readonly number[]): Spread | undefined {
  const center = mean(values);
  if (center === undefined) return undefined;
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  return {
    standardDeviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0,
    min: Math.min(...values),
    max: Math.max(...values),
  };
}
