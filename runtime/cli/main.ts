#!/usr/bin/env node
import { isThread, serveTasks } from "./threads";
import { runVerb } from "./verbs";

if (isThread()) serveTasks();
else process.exitCode = await runVerb(process.argv.slice(2));
