import type { CachedModel } from "../runtime/index";
import { DropZone } from "./drop-zone";
import { describeKernels, formatBytes, formatCount, formatDuration, formatMs, formatParameters } from "./format";
import {
  better,
  cancelLoad,
  choices,
  choose,
  deleteStored,
  type Failure,
  info,
  isLocal,
  load,
  loadModel,
  OTHER,
  otherSource,
  progress,
  retryLoad,
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
      {state.kind === "loading" && <Loading cancelling={state.cancelling} />}
      {state.kind === "failed" && <LoadFailure {...state.failure} />}
      <Summary />
      <Better />
      <DropZone />
    </section>
  );
}

function Picker() {
  const state = load.value;
  const busy = state.kind === "loading";
  const typing = selection.value === OTHER && !(busy && state.ownFiles);
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
            {isLocal(url) && " · palettized here"}
          </option>
        ))}
        <option value={OTHER}>{busy && state.ownFiles ? "Your own files" : "Other URL or hub id…"}</option>
      </select>
      {typing && (
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

function Loading({ cancelling }: { cancelling: boolean }) {
  const now = progress.value;
  return (
    <div class="loading">
      <label for="load-progress">{cancelling ? "Cancelling" : now ? PHASES[now.phase] : "Starting"}</label>
      {/* Without a value the bar shows that something happens but not how far it is. */}
      <progress id="load-progress" max={now?.total || 1} value={now?.total ? now.loaded : undefined} />
      <div class="row">
        <span class="numbers" data-testid="load-numbers">
          <LoadNumbers />
        </span>
        <button type="button" class="quiet" disabled={cancelling} onClick={cancelLoad}>
          Cancel
        </button>
      </div>
    </div>
  );
}

function LoadNumbers() {
  const now = progress.value;
  if (!now?.total) return <>{now?.file ?? " "}</>;
  const { phase, loaded, total, file = "", secondsLeft } = now;
  if (phase !== "palettize") return <>{`${formatBytes(loaded)} of ${formatBytes(total)}`}</>;
  const left = secondsLeft === undefined ? "" : `, ${formatDuration(secondsLeft)} left`;
  return (
    <>
      {`${loaded} of ${total} matrices${left}`}
      <br />
      <span class="small">{file.replace(/^model\./, "")}</span>
    </>
  );
}

function LoadFailure({ code, message }: Failure) {
  return (
    <div class="failure" role="alert" data-testid="load-error">
      <strong>{code}</strong>
      <p>{message}</p>
      <button type="button" onClick={retryLoad}>
        Retry
      </button>
    </div>
  );
}

function Summary() {
  if (!info.value) return null;
  const { name, parameters, layers, averageBits, contextTokens, fromCache, kernels, palettized } = info.value;
  const origin = palettized ? "your file" : fromCache ? "this device" : "the network";
  return (
    <p class="small" data-testid="model-summary">
      <strong>{name}</strong>: {formatParameters(parameters)} parameters in {layers} layers, {averageBits.toFixed(2)} bits per
      weight, {formatCount(contextTokens)} tokens of context. Came from {origin}. Kernels: {describeKernels(kernels)}.
      {palettized && (
        <span data-testid="palettized">
          {" "}
          Palettized in {formatMs(1000 * palettized.seconds)} to {formatBytes(palettized.bytes)}, relative error of the weights{" "}
          {palettized.relativeError.toFixed(3)}.
        </span>
      )}
    </p>
  );
}

/** What the server makes besides the chosen model, and the way to it once it is there. */
function Better() {
  const model = better.value;
  if (!model) return null;
  if (model.making !== undefined)
    return <p class="small">A better model is being made on the server: {Math.floor(100 * model.making)} %.</p>;
  return (
    <div class="row" data-testid="better">
      <span>A better model is ready{model.bits !== undefined && `, ${model.bits.toFixed(1)} bits per weight`}.</span>
      <button
        type="button"
        disabled={load.value.kind === "loading"}
        onClick={() => {
          choose(model.url);
          loadModel();
        }}
      >
        Switch
      </button>
    </div>
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
      title={deleteTitle(model)}
      onClick={() => deleteStored(model.url)}
    >
      Delete stored model ({formatBytes(model.bytes)})
    </button>
  );
}

function deleteTitle({ url, complete }: CachedModel): string {
  if (isLocal(url)) return "Frees the space; to use it again, choose its file again";
  if (complete) return "Frees the space; the next load fetches it again";
  return "Only part of it has arrived; loading goes on from there";
}
