import { describeKernels, formatBytes, formatCount, formatParameters } from "./format";
import {
  cancelLoad,
  choices,
  choose,
  deleteStored,
  type Failure,
  info,
  load,
  loadModel,
  OTHER,
  otherSource,
  progress,
  selection,
  source,
  stored,
} from "./models";

export function ModelPanel() {
  const state = load.value;
  return (
    <section class="panel model" aria-labelledby="model-title">
      <h2 id="model-title">Model</h2>
      <Picker />
      {state.kind === "loading" && <Loading />}
      {state.kind === "failed" && <LoadFailure {...state.failure} />}
      <Summary />
    </section>
  );
}

function Picker() {
  const busy = load.value.kind === "loading";
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        loadModel();
      }}
    >
      <label class="visually-hidden" for="model-select">
        Choose a model
      </label>
      <select
        id="model-select"
        value={selection.value}
        disabled={busy}
        onChange={({ currentTarget }) => choose(currentTarget.value)}
      >
        {choices.value.map(({ name, url, bytes, bits }) => (
          <option key={url} value={url}>
            {name} · {formatBytes(bytes)}
            {bits !== undefined && ` · ${bits.toFixed(1)} bits`}
          </option>
        ))}
        <option value={OTHER}>Other URL or hub id…</option>
      </select>
      {selection.value === OTHER && (
        <label>
          URL or hub id
          <input
            type="text"
            placeholder="https://… or org/name"
            autocomplete="off"
            spellcheck={false}
            disabled={busy}
            value={otherSource}
            onInput={({ currentTarget }) => choose(OTHER, currentTarget.value)}
          />
        </label>
      )}
      <div class="row">
        <LoadButton />
        <DeleteStored />
      </div>
    </form>
  );
}

/** Cancel stands in for it while loading, Retry after a failure. */
function LoadButton() {
  const { kind } = load.value;
  if (kind === "loading" || kind === "failed") return null;
  return (
    <button type="submit" class={kind === "ready" ? "quiet" : ""} disabled={source.value === ""}>
      {kind === "ready" ? "Reload" : "Load"}
    </button>
  );
}

const PHASES = {
  read: "Reading the file",
  palettize: "Palettizing",
  download: "Fetching the weights",
  upload: "Moving the weights to the GPU",
  compile: "Compiling the kernels",
  ready: "Ready",
};

function Loading() {
  const now = progress.value;
  return (
    <div class="loading">
      <label for="load-progress">{now ? PHASES[now.phase] : "Starting"}</label>
      {/* Without a value the bar shows that something happens but not how far it is. */}
      <progress id="load-progress" max={now?.total || 1} value={now?.total ? now.loaded : undefined} />
      <div class="row">
        <span class="numbers">{now?.total ? `${formatBytes(now.loaded)} of ${formatBytes(now.total)}` : " "}</span>
        <button type="button" class="quiet" onClick={cancelLoad}>
          Cancel
        </button>
      </div>
    </div>
  );
}

function LoadFailure({ code, message }: Failure) {
  return (
    <div class="failure" role="alert" data-testid="load-error">
      <strong>{code}</strong>
      <p>{message}</p>
      <button type="button" onClick={() => loadModel()}>
        Retry
      </button>
    </div>
  );
}

function Summary() {
  if (!info.value) return null;
  const { name, parameters, layers, averageBits, contextTokens, fromCache, kernels } = info.value;
  return (
    <p class="small" data-testid="model-summary">
      <strong>{name}</strong>: {formatParameters(parameters)} parameters in {layers} layers, {averageBits.toFixed(2)} bits per
      weight, {formatCount(contextTokens)} tokens of context. Came from {fromCache ? "this device" : "the network"}. Kernels:{" "}
      {describeKernels(kernels)}.
    </p>
  );
}

function DeleteStored() {
  const model = stored.value.get(source.value);
  if (!model) return null;
  return (
    <button
      type="button"
      class="quiet small"
      disabled={load.value.kind === "loading"}
      title={
        model.complete
          ? "Frees the space; the next load fetches it again"
          : "Only part of it has arrived; loading goes on from there"
      }
      onClick={() => deleteStored(model.url)}
    >
      Delete stored model ({formatBytes(model.bytes)})
    </button>
  );
}
