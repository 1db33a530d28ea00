#!/usr/bin/env node
/** `npm run bench:peers`. */
import { launchCommand } from "../launch-command.mjs";

await launchCommand("./bench/peers/command.ts");
