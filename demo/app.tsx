import { Chat } from "./chat";
import { announcement } from "./conversation";
import { MetricsPanel } from "./metrics-panel";
import { ModelPanel } from "./model-panel";
import { info, isStored, support } from "./models";
import { online, pageStored } from "./offline";
import { Settings } from "./settings";
import { Unsupported } from "./unsupported";

export function App() {
  return (
    <>
      <header>
        <img src={new URL("./favicon.svg", import.meta.url).href} alt="" width="36" height="36" />
        <div>
          <h1>Ochre</h1>
          <p>A language model on your own GPU: nothing you type leaves this page.</p>
        </div>
        <ul class="badges" aria-label="Status">
          <GpuBadge />
          <NetworkBadge />
        </ul>
      </header>
      <Body />
      <p class="visually-hidden" role="status">
        {announcement}
      </p>
    </>
  );
}

function Body() {
  if (support.value === undefined) return <main aria-busy="true" />;
  if (!support.value.supported) return <Unsupported reason={support.value.reason} />;
  return (
    <main>
      <ModelPanel />
      <Chat />
      <aside>
        <MetricsPanel />
        <Settings />
      </aside>
    </main>
  );
}

function GpuBadge() {
  if (!info.value) return null;
  const { vendor, architecture, isFallback } = info.value.gpu;
  const name = [vendor, architecture].filter(Boolean).join(" ") || "unnamed";
  return (
    <li data-testid="gpu" class={isFallback ? "warning" : ""}>
      GPU: {isFallback ? `${name}, software adapter: expect a few tokens a second` : name}
    </li>
  );
}

function NetworkBadge() {
  const worksOffline = pageStored.value && isStored.value;
  return (
    <li data-testid="network" class={online.value ? "" : "offline"}>
      {online.value ? "online" : "offline"}
      {worksOffline && "; works offline now: model and page are stored"}
    </li>
  );
}
