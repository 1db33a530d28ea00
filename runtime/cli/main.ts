#!/usr/bin/env node
import { runVerb } from "./verbs";

process.exitCode = await runVerb(process.argv.slice(2));
