#!/usr/bin/env node
/** `npm run bench`. */
import { launchCommand } from "./launch-command.mjs";

await launchCommand("./bench/command.ts");
