/** Builds the playground (demo/) into dist/demo, service worker included. */
import { createHash } from "node:crypto";
import path from "node:path";
import { defineConfig, type Plugin } from "vite";
import { wat } from "./runtime/compute/vite-plugin.ts";
import { wgsl } from "./wgsl/vite-plugin.ts";

const root = path.join(import.meta.dirname, "demo");
const WORKER_FILE = "sw.js";

/** Tells the service worker which files make up the page. The page itself stands in the list as "./". */
function listShell(): Plugin {
  return {
    name: "ochre:list-shell",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        const files = Object.keys(bundle).filter((file) => file !== WORKER_FILE && file !== "index.html");
        const page = bundle["index.html"];
        const worker = bundle[WORKER_FILE];
        if (page?.type !== "asset" || worker?.type !== "chunk")
          this.error("the playground's build must hold a page and a service worker.");
        const version = createHash("sha256").update(JSON.stringify(files)).update(page.source).digest("hex").slice(0, 12);
        worker.code = worker.code
          .replace("SHELL_FILES", JSON.stringify(["./", ...files]))
          .replace("SHELL_VERSION", JSON.stringify(version));
      },
    },
  };
}

export default defineConfig({
  root,
  base: "./",
  plugins: [wat(), wgsl(), listShell()],
  worker: { format: "iife", plugins: () => [wat(), wgsl()] },
  build: {
    outDir: path.join(import.meta.dirname, "dist/demo"),
    emptyOutDir: true,
    target: "es2022",
    // Data URLs would ask the page's content security policy for more than 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: path.join(root, "index.html"), sw: path.join(root, "sw.ts") },
      output: { entryFileNames: ({ name }) => (name === "sw" ? WORKER_FILE : "assets/[name]-[hash].js") },
    },
  },
});
