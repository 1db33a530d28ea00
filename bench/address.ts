/**
 * What the page's address asks for: `?model=SOURCE&scenario=16x16@0&scenario=…&repetitions=N&warmup=N`, and with `&run` it is
 * run at once. The command line opens the page so, and a link can hold a plan.
 */
import { source } from "./model";
import type { BenchRow } from "./report";
import { failure, repetitions, rows, runScenarios, scenarios, warmup } from "./runs";

declare global {
  /** The rows of the run that the address asked for; rejects with what went wrong. */
  var ochreBench: Promise<BenchRow[]> | undefined;
}

/** Before models are looked for, so that a named one is kept. */
export function readAddress(): { run: boolean } {
  const query = new URLSearchParams(location.search);
  source.value = query.get("model") ?? "";
  scenarios.value = query.getAll("scenario").join(" ");
  const count = (name: string) => (query.has(name) ? Number(query.get(name)) : undefined);
  repetitions.value = count("repetitions");
  warmup.value = count("warmup");
  return { run: query.has("run") };
}

export async function runAsAsked(): Promise<BenchRow[]> {
  await runScenarios();
  if (failure.value) throw new Error(`${failure.value.code}: ${failure.value.message}`);
  return rows.value;
}
