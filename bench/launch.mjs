#!/usr/bin/env node
/** `npm run bench`: starts bench/command.ts, which Node 20 cannot run by itself. */
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

// Node strips no types before 22: vite loads the plugins too.
const { module: wasm } = await runnerImport(fileURLToPath(new URL("../runtime/compute/vite-plugin.ts", import.meta.url)), {
  configFile: false,
});
const { module: shaders } = await runnerImport(fileURLToPath(new URL("../wgsl/vite-plugin.ts", import.meta.url)), {
  configFile: false,
});
process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const { module } = await runnerImport("./bench/command.ts", {
  configFile: false,
  plugins: [wasm.wat(), shaders.wgsl()],
  logLevel: "error",
});
process.exitCode = await module.main(process.argv.slice(2));
