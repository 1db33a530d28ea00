/** Which models there are, which one is loaded, and what the device keeps. */
import { computed, signal } from "@preact/signals";
import { type CachedModel, type LoadProgress, type Model, type ModelInfo, Ochre, type Support } from "../runtime/index";

/** A row of the server's `models/index.json`, its URL made absolute. */
export interface ListedModel {
  name: string;
  url: string;
  bytes: number;
  bits?: number;
}

/** An error as the page shows it: a code to look up and a sentence to read. */
export interface Failure {
  code: string;
  message: string;
}

export type LoadState =
  | { kind: "idle" }
  | { kind: "loading" }
  | { kind: "ready"; model: Model }
  | { kind: "failed"; failure: Failure };

/** The select's value for a source that the visitor types. */
export const OTHER = "other";

export const support = signal<Support | undefined>(undefined);
export const listed = signal<ListedModel[]>([]);
/** Models in this device's store by URL, the latest used first; some may have been cut off in mid-download. */
export const stored = signal<ReadonlyMap<string, CachedModel>>(new Map());
/** A listed or stored URL, or OTHER. */
export const selection = signal(OTHER);
export const otherSource = signal("");
export const load = signal<LoadState>({ kind: "idle" });
/** Of the loaded model; refreshed with every session, since sessions hold GPU memory. */
export const info = signal<ModelInfo | undefined>(undefined);
export const progress = signal<LoadProgress | undefined>(undefined);

/** What the Load button would load. */
export const source = computed(() => (selection.value === OTHER ? otherSource.value.trim() : selection.value));
/** Everything the select offers: the server's models, then stored ones that the server does not name. */
export const choices = computed<ListedModel[]>(() => {
  const known = new Set(listed.value.map(({ url }) => url));
  return [...listed.value, ...[...stored.value.values()].filter(({ url }) => !known.has(url))];
});
/** Whether the chosen model needs no network. */
export const isStored = computed(() => stored.value.get(source.value)?.complete === true);

let loading: AbortController | undefined;

/** Finds out what can be loaded, and loads it where that costs the visitor no download. */
export async function findModels(): Promise<void> {
  support.value = await Ochre.isSupported();
  if (!support.value.supported) return;
  await Promise.all([readListed(), readStored()]);
  const lastUsed = [...stored.value.values()].find(({ complete }) => complete);
  const first = lastUsed ?? choices.value[0];
  if (!first) return;
  selection.value = first.url;
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (lastUsed || isLocal) await loadModel();
}

async function readListed(): Promise<void> {
  try {
    const index = new URL("./models/index.json", location.href);
    const answer = await fetch(index);
    if (!answer.ok) return;
    const rows: ListedModel[] = await answer.json();
    listed.value = rows.map((row) => ({ ...row, url: new URL(row.url, index).href }));
  } catch {
    // Offline, or a host without a list: stored models and the text field remain.
  }
}

async function readStored(): Promise<void> {
  try {
    const models = await Ochre.cache.list();
    stored.value = new Map(models.map((model) => [model.url, model]));
  } catch {
    // Private windows may refuse IndexedDB; nothing is stored then, and loading says so itself.
  }
}

/** Picks a row of the select, and with `text` what the visitor types; a failure of the choice before is old news then. */
export function choose(url: string, text = otherSource.value): void {
  selection.value = url;
  otherSource.value = text;
  if (load.value.kind === "failed") load.value = { kind: "idle" };
}

export async function loadModel(): Promise<void> {
  if (load.value.kind === "loading" || source.value === "") return;
  const previous = load.value;
  loading = new AbortController();
  progress.value = undefined;
  info.value = undefined;
  load.value = { kind: "loading" };
  try {
    if (previous.kind === "ready") await previous.model.dispose();
    const model = await Ochre.load(source.value, {
      signal: loading.signal,
      onProgress: (now) => {
        progress.value = now;
      },
    });
    info.value = model.info;
    load.value = { kind: "ready", model };
    model.lost.then(({ message }) => {
      if (load.value.kind === "ready" && load.value.model === model) fail({ code: "GPU_LOST", message });
    });
  } catch (error) {
    if (loading.signal.aborted) load.value = { kind: "idle" };
    else fail(toFailure(error));
  }
  await readStored();
  // What was typed has a name now, so that the select can show it and the store's controls mean it.
  const latest = stored.value.keys().next().value;
  if (load.value.kind === "ready" && selection.value === OTHER && latest) selection.value = latest;
}

export function cancelLoad(): void {
  loading?.abort();
}

export async function deleteStored(url: string): Promise<void> {
  await Ochre.cache.delete(url);
  await readStored();
}

function fail(failure: Failure): void {
  info.value = undefined;
  load.value = { kind: "failed", failure };
}

export function toFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { code: "INTERNAL", message: String(error) };
  return { code: "code" in error && typeof error.code === "string" ? error.code : error.name, message: error.message };
}
