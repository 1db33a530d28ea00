/** Names for how keys and values are cached. */
import type { KvBits, KvFormat } from "../../kernels/kv-cache";

const BITS = { f16: 16, int8: 8, int4: 4 } as const satisfies Record<string, KvBits>;

export type KvType = keyof typeof BITS;
/** The same for keys and values, or each its own. */
export type KvChoice = KvType | { k: KvType; v: KvType };

export function kvFormat(kv: KvChoice): KvFormat {
  const { k, v } = typeof kv === "string" ? { k: kv, v: kv } : kv;
  return { k: BITS[k], v: BITS[v] };
}

/** Of `f16`, `int8`, `int4`, or bits of both: `k8v4`. Undefined for anything else. */
export function parseKvFormat(text: string): KvFormat | undefined {
  if (Object.hasOwn(BITS, text)) return kvFormat(text as KvType);
  const bits = /^k(16|8|4)v(16|8|4)$/.exec(text)?.slice(1).map(Number) as [KvBits, KvBits] | undefined;
  return bits && { k: bits[0], v: bits[1] };
}
