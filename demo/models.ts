/** Which models there are, which one is loaded, and what the device keeps. */
import { computed, signal } from "@preact/signals";
import {
  type CachedModel,
  type LoadProgress,
  type Model,
  type ModelInfo,
  type ModelSource,
  Ochre,
  type Support,
} from "../runtime/index";

/** A row of the server's `models/index.json`, its URL made absolute. */
export interface ListedModel {
  name: string;
  url: string;
  bytes: number;
  bits?: number;
  /** Name of the row that this one does better than. */
  betterThan?: string;
  /** How much of it is made, 0 to 1; it cannot be loaded yet. */
  making?: number;
}

/** An error as the page shows it: a code to look up and a sentence to read. */
export interface Failure {
  code: string;
  message: string;
}

export type LoadState =
  | { kind: "idle" }
  | { kind: "loading"; ownFiles: boolean; cancelling: boolean }
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
/** With what palettizing still takes, in seconds, once that can be told. */
export const progress = signal<(LoadProgress & { secondsLeft?: number }) | undefined>(undefined);

/** What the Load button would load. */
export const source = computed(() => (selection.value === OTHER ? otherSource.value.trim() : selection.value));
/** Everything the select offers: the server's models, then stored ones that the server does not name. */
export const choices = computed<ListedModel[]>(() => {
  const known = new Set(listed.value.map(({ url }) => url));
  const whole = listed.value.filter(({ making }) => making === undefined);
  return [...whole, ...[...stored.value.values()].filter(({ url }) => !known.has(url))];
});
/** A model that does better than the chosen one, made or in the making. */
export const better = computed(() => {
  const chosen = listed.value.find(({ url }) => url === source.value);
  return chosen && listed.value.find(({ betterThan }) => betterThan === chosen.name);
});
/** Whether a model was made here, of the visitor's own files: no network brings it back. */
export const isLocal = (url: string): boolean => url.startsWith("local:");
/** Whether the chosen model needs no network. */
export const isStored = computed(() => stored.value.get(source.value)?.complete === true);

/** How often the server is asked how far a model in the making is. */
const POLL_MS = 10_000;
let loading: AbortController | undefined;
/** What the latest load was asked for. */
let wanted: ModelSource = "";

/** Finds out what can be loaded, and loads it where that costs the visitor no download. */
export async function findModels(): Promise<void> {
  support.value = await Ochre.isSupported();
  if (!support.value.supported) return;
  await Promise.all([readListed(), readStored()]);
  const lastUsed = [...stored.value.values()].find(({ complete }) => complete);
  const first = lastUsed ?? choices.value[0];
  if (!first) return;
  selection.value = first.url;
  const isThisMachine = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (lastUsed || isThisMachine) await loadModel();
}

async function readListed(): Promise<void> {
  try {
    const index = new URL("./models/index.json", location.href);
    const answer = await fetch(index);
    if (!answer.ok) return;
    const rows: ListedModel[] = await answer.json();
    listed.value = rows.map((row) => ({ ...row, url: new URL(row.url, index).href }));
    if (rows.some(({ making }) => making !== undefined)) setTimeout(readListed, POLL_MS);
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

/** Loads the chosen model. */
export const loadModel = (): Promise<void> => loadFrom(source.value);

/** Loads what the visitor has on this device, palettizing it first where it is not. */
export async function loadFiles(files: ModelSource): Promise<void> {
  if (load.value.kind === "loading") return;
  selection.value = OTHER;
  otherSource.value = "";
  await loadFrom(files);
}

/** After a failure. */
export const retryLoad = (): Promise<void> => loadFrom(wanted);

async function loadFrom(from: ModelSource): Promise<void> {
  if (load.value.kind === "loading" || from === "") return;
  const previous = load.value;
  loading = new AbortController();
  const { signal } = loading;
  wanted = from;
  progress.value = undefined;
  info.value = undefined;
  load.value = { kind: "loading", ownFiles: typeof from !== "string", cancelling: false };
  try {
    if (previous.kind === "ready") await previous.model.dispose();
    const model = await Ochre.load(from, { signal, onProgress: timed() });
    info.value = model.info;
    load.value = { kind: "ready", model };
    model.lost.then(({ message }) => {
      if (load.value.kind === "ready" && load.value.model === model) fail({ code: "GPU_LOST", message });
    });
  } catch (error) {
    if (signal.aborted) load.value = { kind: "idle" };
    else fail(toFailure(error));
  }
  await readStored();
  // What was typed or dropped has a name now, so that the select can show it and the store's controls mean it.
  const latest = stored.value.keys().next().value;
  if (load.value.kind === "ready" && selection.value === OTHER && latest) selection.value = latest;
}

/** Takes in progress, and tells from the pace of the linears so far how long the rest will take. */
function timed(): (now: LoadProgress) => void {
  let first: { loaded: number; at: number } | undefined;
  return (now) => {
    let secondsLeft: number | undefined;
    if (now.phase === "palettize") {
      const at = performance.now() / 1000;
      first ??= { loaded: now.loaded, at };
      const done = now.loaded - first.loaded;
      if (done > 0) secondsLeft = ((now.total - now.loaded) * (at - first.at)) / done;
    }
    progress.value = { ...now, secondsLeft };
  };
}

export function cancelLoad(): void {
  if (load.value.kind === "loading") load.value = { ...load.value, cancelling: true };
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
