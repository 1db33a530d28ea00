/**
 * Build step for WebAssembly: `import bytes from "./name.wat"` yields the assembled module as a Uint8Array. A few hundred bytes go
 * inline as base64, so that a page needs no other file and no request.
 */
import fs from "node:fs";
import type { Plugin } from "vite";
import makeWabt from "wabt";

const wabt = makeWabt();

export function wat(): Plugin {
  return {
    name: "ochre:wat",
    enforce: "pre",
    async load(id) {
      const file = id.split("?")[0];
      if (!file.endsWith(".wat")) return null;
      const module = (await wabt).parseWat(file, fs.readFileSync(file), { simd: true });
      const base64 = Buffer.from(module.toBinary({}).buffer).toString("base64");
      module.destroy();
      return {
        code: `export default Uint8Array.from(atob(${JSON.stringify(base64)}), (byte) => byte.charCodeAt(0));`,
        map: { mappings: "" },
      };
    },
  };
}
