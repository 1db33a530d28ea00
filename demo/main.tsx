import { render } from "preact";
import { App } from "./app";
import { findModels } from "./models";
import { storePage } from "./offline";

render(<App />, document.querySelector("#app")!);
findModels();
storePage();
