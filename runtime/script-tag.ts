/** For a classic `<script src="ochre.js">`: the API as one global, `Ochre`, with the error class on it. */
import { Ochre, OchreError } from "./index";

Object.assign(globalThis, { Ochre: { ...Ochre, OchreError } });
