/** Builds the bench page (bench/) into dist/bench, stamped with the commit that it was built from. */
import { execFileSync } from "node:child_process";
import path from "node:path";
import { defineConfig } from "vite";
import { wat } from "./runtime/compute/vite-plugin.ts";
import { wgsl } from "./wgsl/vite-plugin.ts";

/** Empty outside a repository; `+` where the working tree differs from the commit. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "--untracked-files=no") ? "+" : "");
  } catch {
    return "";
  }
}

export default defineConfig({
  root: path.join(import.meta.dirname, "bench"),
  base: "./",
  plugins: [wat(), wgsl()],
  worker: { format: "iife", plugins: () => [wat(), wgsl()] },
  define: { BUILD_COMMIT: JSON.stringify(commit()) },
  build: {
    outDir: path.join(import.meta.dirname, "dist/bench"),
    emptyOutDir: true,
    target: "es2022",
    // Data URLs would ask the page's content security policy for more than 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
