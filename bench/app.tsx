import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { ComparePanel } from "./compare-panel";
import { EvaluationPanel } from "./evaluation-panel";
import { KernelTimesPanel } from "./kernel-times-panel";
import { KernelsPanel } from "./kernels-panel";
import { info, support } from "./model";
import { PlanPanel } from "./plan-panel";
import { ResultsPanel } from "./results-panel";
import { failure, status } from "./runs";

export function App() {
  return (
    <>
      <header>
        <img src={new URL("../demo/favicon.svg", import.meta.url).href} alt="" width="36" height="36" />
        <div>
          <h1>Ochre bench</h1>
          <p>How fast a language model runs on your own GPU, and whether its kernels compute what they should.</p>
        </div>
        <ul class="badges" aria-label="Status">
          <GpuBadge />
        </ul>
      </header>
      <Body />
    </>
  );
}

function Body() {
  if (support.value === undefined) return <main aria-busy="true" />;
  if (!support.value.supported) {
    return (
      <main>
        <p role="alert">{support.value.reason}</p>
      </main>
    );
  }
  return (
    <main>
      <PlanPanel />
      <Progress />
      <Tabs />
    </main>
  );
}

function GpuBadge() {
  if (!info.value) return null;
  const { vendor, architecture, isFallback } = info.value.gpu;
  const name = [vendor, architecture].filter(Boolean).join(" ") || "unnamed";
  return <li class={isFallback ? "warning" : ""}>GPU: {isFallback ? `${name}, software adapter` : name}</li>;
}

function Progress() {
  return (
    <>
      <p role="status" class="numbers" data-testid="status">
        {status}
      </p>
      {failure.value && (
        <div class="failure" role="alert" data-testid="failure">
          <strong>{failure.value.code}</strong>
          <p>{failure.value.message}</p>
        </div>
      )}
    </>
  );
}

const TABS = [
  { id: "speed", name: "Speed" },
  { id: "kernels", name: "Kernels" },
  { id: "evaluation", name: "Evaluation" },
] as const;

/** One tab stop; the arrow keys choose. */
function Tabs() {
  const chosen = useSignal<(typeof TABS)[number]["id"]>("speed");
  const list = useRef<HTMLDivElement>(null);
  const onKeyDown = ({ key }: KeyboardEvent) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    const at = TABS.findIndex(({ id }) => id === chosen.value);
    const next = TABS[(at + (key === "ArrowRight" ? 1 : TABS.length - 1)) % TABS.length];
    chosen.value = next.id;
    list.current?.querySelector<HTMLElement>(`#tab-${next.id}`)?.focus();
  };
  return (
    <>
      <div role="tablist" class="tabs" aria-label="What to see" ref={list} onKeyDown={onKeyDown}>
        {TABS.map(({ id, name }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            class="quiet"
            aria-selected={chosen.value === id}
            aria-controls={`panel-${id}`}
            tabIndex={chosen.value === id ? 0 : -1}
            onClick={() => {
              chosen.value = id;
            }}
          >
            {name}
          </button>
        ))}
      </div>
      <div role="tabpanel" id="panel-speed" class="stack" aria-labelledby="tab-speed" hidden={chosen.value !== "speed"}>
        <ResultsPanel />
        <ComparePanel />
      </div>
      <div role="tabpanel" id="panel-kernels" class="stack" aria-labelledby="tab-kernels" hidden={chosen.value !== "kernels"}>
        <KernelTimesPanel />
        <KernelsPanel />
      </div>
      <div
        role="tabpanel"
        id="panel-evaluation"
        class="stack"
        aria-labelledby="tab-evaluation"
        hidden={chosen.value !== "evaluation"}
      >
        <EvaluationPanel />
      </div>
    </>
  );
}
