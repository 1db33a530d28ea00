import { render } from "preact";
import { readAddress, runAsAsked } from "./address";
import { App } from "./app";
import { findModels } from "./model";

const { run } = readAddress();
render(<App />, document.querySelector("#app")!);
const found = findModels();
if (run) {
  globalThis.ochreBench = found.then(runAsAsked);
  // The page shows a failure; whoever waits for the promise meets it there.
  globalThis.ochreBench.catch(() => {});
}
