#!/usr/bin/env node
/**
 * Starts the command line from a checkout: bundles it into dist/cli.js when a source is newer than the bundle, then
 * runs it. Plain JavaScript, for Node 20 runs no TypeScript and knows no .wgsl. The published package ships the bundle.
 */
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { buildCli, bundle, root } from "./build-cli.mjs";

const SOURCES = ["runtime", "kernels", "wgsl", "vite.config.ts", "package-lock.json"];

/**
 * @param {string} entry Path of a file or folder.
 * @param {number} time Milliseconds since the epoch.
 * @returns {boolean} Whether anything there changed later; folders count, so that a deletion shows.
 */
function changedAfter(entry, time) {
  const stat = fs.statSync(entry);
  if (stat.mtimeMs > time) return true;
  return stat.isDirectory() && fs.readdirSync(entry).some((name) => changedAfter(path.join(entry, name), time));
}

const builtAt = fs.statSync(bundle, { throwIfNoEntry: false })?.mtimeMs ?? 0;
if (SOURCES.some((source) => changedAfter(path.join(root, source), builtAt))) {
  await buildCli().catch((error) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  });
}
await import(pathToFileURL(bundle).href);
