/** Runs a command that is TypeScript and imports shaders and WebAssembly text, which Node 20 cannot by itself. */
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));

/** @param {string} file From the project's root; its `main` takes the arguments and gives the exit code. */
export async function launchCommand(file) {
  process.chdir(root);
  /**
   * @param {string} path
   * @param {import("vite").Plugin[]} plugins
   */
  const load = async (path, plugins = []) => (await runnerImport(path, { configFile: false, plugins, logLevel: "error" })).module;
  const { wat } = await load("./runtime/compute/vite-plugin.ts");
  const { wgsl } = await load("./wgsl/vite-plugin.ts");
  const { main } = await load(file, [wat(), wgsl()]);
  process.exitCode = await main(process.argv.slice(2));
}
