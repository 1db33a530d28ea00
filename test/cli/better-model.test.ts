import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { makeBetterModel } from "../../runtime/cli/better-model";
import { RECIPE } from "../../runtime/cli/sample";
import { makeDirectory } from "./model-directory";

let root: string;
/** What is run in place of the command line. */
const program = (text: string): string => path.join(makeDirectory({ "cli.mjs": text }), "cli.mjs");

beforeEach(() => {
  root = makeDirectory({});
  vi.spyOn(process, "cwd").mockReturnValue(root);
  for (const file of Object.values(RECIPE)) {
    mkdirSync(path.join(root, path.dirname(file)), { recursive: true });
    writeFileSync(path.join(root, file), "");
  }
});
afterEach(() => vi.restoreAllMocks());

describe("the better model", () => {
  it("is made by a process that says how far it is, and ends when it is stopped", async () => {
    const ended = path.join(root, "ended");
    const model = await makeBetterModel(
      program(`
        import { writeFileSync } from "node:fs";
        process.on("SIGTERM", () => { writeFileSync(${JSON.stringify(ended)}, process.argv[2]); process.exit(1); });
        process.send({ done: 84, total: 210 });
        setInterval(() => {}, 1000);
      `),
    );
    vi.spyOn(console, "log").mockImplementation(() => {});
    expect(model).toMatchObject({ name: "smollm2-135m-instruct-3.5bit", than: "smollm2-135m-instruct" });
    expect(model.making()).toBe(0);
    await expect.poll(() => model.making(), { timeout: 5000 }).toBe(0.4);
    expect(console.log).toHaveBeenCalledWith("The better model: 40 %");
    model.stop();
    await expect.poll(() => existsSync(ended), { timeout: 5000 }).toBe(true);
    await expect.poll(() => model.making()).toBeUndefined();
  });

  it("is announced when it is ready, and missed when it fails", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    await makeBetterModel(program("process.exit(0)"));
    await expect
      .poll(() => log.mock.calls, { timeout: 5000 })
      .toEqual([["The better model is ready: the playground offers it."]]);
    expect(error).not.toHaveBeenCalled();
    await makeBetterModel(program("process.exit(1)"));
    await expect.poll(() => error.mock.calls, { timeout: 5000 }).toEqual([[expect.stringContaining("npm run model goes on")]]);
  });

  it("is not begun without its recipe", async () => {
    vi.spyOn(process, "cwd").mockReturnValue(makeDirectory({}));
    const model = await makeBetterModel(program("process.exit(1)"));
    expect(model.making()).toBeUndefined();
  });
});
