import type { Signal } from "@preact/signals";
import { info, source } from "./model";
import { ModelField } from "./model-field";
import { busy, repetitions, runScenarios, scenarios, stop, warmup } from "./runs";
import { defaultPlan, RATIO_SCENARIOS } from "./scenario";

export function PlanPanel() {
  return (
    <section class="panel" aria-labelledby="plan-title">
      <h2 id="plan-title">What to measure</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          runScenarios();
        }}
      >
        <ModelField label="Model: its URL or hub id" list="models" value={source} />
        <label>
          Scenarios: tokens read x tokens written @ tokens before
          <input
            type="text"
            autocomplete="off"
            spellcheck={false}
            placeholder={unasked().scenarios}
            disabled={busy}
            value={scenarios}
            onInput={({ currentTarget }) => {
              scenarios.value = currentTarget.value;
            }}
          />
        </label>
        <div class="fields">
          <Count label="Repetitions" min={1} unasked={unasked().repetitions} value={repetitions} />
          <Count label="Warm-up runs" min={0} unasked={unasked().warmup} value={warmup} />
        </div>
        <div class="row">
          <button
            type="button"
            class="quiet"
            disabled={busy}
            onClick={() => {
              scenarios.value = RATIO_SCENARIOS;
            }}
          >
            Plan the ratios
          </button>
          <button type="submit" disabled={busy.value || source.value === ""}>
            Run
          </button>
          {busy.value && (
            <button type="button" class="quiet" onClick={stop}>
              Stop
            </button>
          )}
        </div>
      </form>
    </section>
  );
}

/** Once a model is loaded the adapter is known; before, most visitors have a GPU. */
const unasked = () => defaultPlan(info.value?.gpu.isFallback ?? false);

interface CountProps {
  label: string;
  min: number;
  /** What applies while the field is empty. */
  unasked: number;
  value: Signal<number | undefined>;
}

function Count({ label, min, unasked, value }: CountProps) {
  return (
    <label>
      {label}
      <input
        type="number"
        min={min}
        step={1}
        placeholder={String(unasked)}
        disabled={busy}
        value={value.value ?? ""}
        onInput={({ currentTarget }) => {
          value.value = currentTarget.value === "" ? undefined : currentTarget.valueAsNumber;
        }}
      />
    </label>
  );
}
