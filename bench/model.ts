/** Which model is measured, loaded once and kept. */
import { signal } from "@preact/signals";
import { type LoadProgress, type Model, type ModelInfo, Ochre, type Support } from "../runtime/index";

/** A row of the server's `models/index.json`, its URL made absolute. */
interface ListedModel {
  name: string;
  url: string;
}

export const support = signal<Support | undefined>(undefined);
export const listed = signal<ListedModel[]>([]);
/** URL or hub id. */
export const source = signal("");
export const info = signal<ModelInfo | undefined>(undefined);

let loaded: { source: string; model: Model } | undefined;

/** What can be measured here; the first listed model is chosen unless one was already. */
export async function findModels(): Promise<void> {
  support.value = await Ochre.isSupported();
  const index = new URL("./models/index.json", location.href);
  // A host without a list is no failure: the text field remains.
  const rows: ListedModel[] = await fetch(index).then(
    (answer) => (answer.ok ? answer.json() : []),
    () => [],
  );
  listed.value = rows.map(({ name, url }) => ({ name, url: new URL(url, index).href }));
  if (source.value === "") source.value = listed.value[0]?.url ?? "";
}

/** The model of `source`, loaded where another one or none is. */
export async function loadModel(onProgress: (progress: LoadProgress) => void, abort: AbortSignal): Promise<Model> {
  if (loaded?.source === source.value) return loaded.model;
  await unload();
  const wanted = source.value;
  const model = await Ochre.load(wanted, { onProgress, signal: abort });
  loaded = { source: wanted, model };
  info.value = model.info;
  model.lost.then(() => {
    if (loaded?.model === model) void unload();
  });
  return model;
}

async function unload(): Promise<void> {
  const previous = loaded?.model;
  loaded = undefined;
  info.value = undefined;
  await previous?.dispose();
}
