import { afterEach, beforeEach, expect, type MockInstance, test, vi } from "vitest";
import { version } from "../../package.json";
import { runVerb } from "../../runtime/cli/verbs";

let log: MockInstance<typeof console.log>;
let error: MockInstance<typeof console.error>;

beforeEach(() => {
  log = vi.spyOn(console, "log").mockImplementation(() => {});
  error = vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

test("--version and --help", async () => {
  expect(await runVerb(["--version"])).toBe(0);
  expect(log).toHaveBeenLastCalledWith(version);
  expect(await runVerb(["--help"])).toBe(0);
  for (const verb of ["palettize", "sensitivity", "write", "run", "eval", "inspect", "sample", "start"])
    expect(log.mock.lastCall?.[0]).toContain(`ochre ${verb}`);
  expect(await runVerb(["inspect", "x", "--help"])).toBe(0);
  expect(log).toHaveBeenLastCalledWith("ochre inspect (MODEL | --compare MODEL MODEL) [--json]");
  expect(error).not.toHaveBeenCalled();
});

test("a command line that makes no sense gives 2", async () => {
  expect(await runVerb([])).toBe(2);
  expect(error.mock.lastCall?.[0]).toContain("ochre inspect");
  for (const verb of ["inspekt", "constructor", "--json"]) {
    expect(await runVerb([verb])).toBe(2);
    expect(error.mock.lastCall?.[0]).toContain(`there is no verb "${verb}"`);
  }
  expect(await runVerb(["inspect", "x", "--frobnicate"])).toBe(2);
  expect(error.mock.lastCall?.[0]).toContain("--frobnicate");
  expect(log).not.toHaveBeenCalled();
});

test("an OchreError gives 1 and one line; the stack only on request", async () => {
  expect(await runVerb(["inspect", "/no/such/model"])).toBe(1);
  expect(error.mock.calls).toEqual([[expect.stringMatching(/^ochre: \[MODEL_FORMAT\] \[\/no\/such\/model\] must be/)]]);
  vi.stubEnv("OCHRE_DEBUG", "1");
  await runVerb(["inspect", "/no/such/model"]);
  expect(error.mock.lastCall?.[0]).toContain("open-checkpoint.ts");
});
