/**
 * `node bench/isa/run.mjs MODULE [ARGUMENT…]`: calls main(arguments) of a TypeScript module of this folder, with shaders
 * imported as the build imports them. Node 20 runs no TypeScript; Vite, which builds the SDK, does.
 */
import { fileURLToPath } from "node:url";
import { createServer, runnerImport } from "vite";

const root = fileURLToPath(new URL("../..", import.meta.url));
const [name, ...rest] = process.argv.slice(2);

/** @type {{ module: typeof import("../../wgsl/vite-plugin.ts") }} */
const { module: plugin } = await runnerImport(`${root}wgsl/vite-plugin.ts`, { root });
const vite = await createServer({
  root,
  configFile: false,
  logLevel: "error",
  plugins: [plugin.wgsl()],
  appType: "custom",
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, watch: null, ws: false },
});
const { main } = await vite.ssrLoadModule(`/bench/isa/${name}.ts`);
await main(rest);
// Not by itself: Dawn keeps threads of its own.
process.exit();
