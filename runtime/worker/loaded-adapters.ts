import type { AdapterUse } from "../engine/adapter-basis";
import { OchreError } from "../errors";
import type { Adapter } from "../sdk/types";

/** The adapters of a model by their names, and what adds up where a session uses one. */
export class LoadedAdapters {
  readonly #adapters = new Map<string, Adapter>();
  /** The model's own, under every other. */
  #own?: string;

  get list(): Adapter[] {
    return [...this.#adapters.values()];
  }

  add(adapter: Adapter, own = false): Adapter {
    this.#adapters.set(adapter.name, adapter);
    if (own) this.#own = adapter.name;
    return adapter;
  }

  /** @throws OchreError INVALID_ARGUMENT for one that is not loaded. */
  remove(name: string): void {
    this.#get(name);
    this.#adapters.delete(name);
    if (this.#own === name) this.#own = undefined;
  }

  /** @throws OchreError INVALID_ARGUMENT for one that is not loaded. */
  uses(adapter: string | null): AdapterUse[] {
    const names = [this.#own, adapter ?? undefined].filter((name) => name !== undefined);
    return [...new Set(names)].map((name) => ({ name, weight: this.#get(name).weight }));
  }

  #get(name: string): Adapter {
    const adapter = this.#adapters.get(name);
    if (adapter) return adapter;
    const known = [...this.#adapters.keys()].join(", ") || "none";
    throw new OchreError("INVALID_ARGUMENT", `[adapter] "${name}" is not loaded; loaded: ${known}.`, { details: { name } });
  }
}
