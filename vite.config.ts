/**
 * The published files, one mode each: `vite build --mode index | script-tag | cli`. Each is a single file; the first two bring
 * the compiler's worker besides. `npm run build` makes them all; the playground has a configuration of its own.
 */
import { defineConfig, type UserConfig } from "vite";
import { wat } from "./runtime/compute/vite-plugin.ts";
import { wgsl } from "./wgsl/vite-plugin.ts";

const shared: UserConfig = {
  // Files are looked for beside the one that names them, wherever a site puts them.
  base: "./",
  plugins: [wat(), wgsl()],
  worker: {
    format: "iife",
    plugins: () => [wat(), wgsl()],
    // The engine's worker is part of the file that starts it; this names the compiler's, which few visitors need.
    rolldownOptions: { output: { entryFileNames: "ochre-compiler.js" } },
  },
  publicDir: false,
};

/** A library of one file, everything bundled: it works from any static server, with or without a bundler. */
function library(entry: string, format: "es" | "iife", fileName: string): UserConfig {
  return {
    ...shared,
    build: {
      target: "es2022",
      emptyOutDir: false,
      lib: { entry, formats: [format], name: "Ochre", fileName: () => fileName },
      // Asked of Rolldown: Vite's own `minify` leaves the white space of ES libraries.
      rolldownOptions: { output: { codeSplitting: false, minify: true } },
    },
  };
}

const targets: Record<string, UserConfig> = {
  index: library("runtime/index.ts", "es", "index.js"),
  "script-tag": library("runtime/script-tag.ts", "iife", "ochre.js"),
  cli: {
    ...shared,
    // Bundled, it starts faster than with its dependencies looked up one by one; these two are optional or of no use outside a checkout.
    ssr: { noExternal: true, external: ["webgpu", "vite"], target: "node" },
    build: {
      target: "node20",
      emptyOutDir: false,
      minify: true,
      ssr: "runtime/cli/main.ts",
      rolldownOptions: { output: { codeSplitting: false, entryFileNames: "cli.js" } },
    },
  },
};

export default defineConfig(({ mode }) => {
  if (!(mode in targets)) throw new Error(`mode must be one of ${Object.keys(targets).join(", ")} but is ${mode}.`);
  return targets[mode];
});
