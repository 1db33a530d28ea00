#!/usr/bin/env node
/** `npm run bench:peers`: starts command.ts, which Node 20 cannot run by itself. */
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

process.chdir(fileURLToPath(new URL("../..", import.meta.url)));
const { module } = await runnerImport("./bench/peers/command.ts", { configFile: false, logLevel: "error" });
process.exitCode = await module.main(process.argv.slice(2));
