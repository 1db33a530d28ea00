/** The shape of the repository, as README and the design promise it. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { ERROR_CODES } from "../runtime/errors";

const root = path.resolve(import.meta.dirname, "..");
const read = (file: string) => fs.readFileSync(path.join(root, file), "utf8");
/** What a clone has, and what the next commit would add. */
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root, encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "" && fs.existsSync(path.join(root, file)));
const sources = files.filter((file) => /\.(ts|tsx|mjs|js|wgsl|css|html)$/.test(file));
const tests = files.filter((file) => file.startsWith("test/") && file.endsWith(".ts") && file !== "test/repo.test.ts");

describe("the tree", () => {
  it("has no top-level entry without a reason", () => {
    const folders = new Set(files.filter((file) => file.includes("/")).map((file) => file.split("/", 1)[0]));
    const known = [".ci", "bench", "demo", "kernels", "runtime", "test", "wgsl"];
    expect([...folders].filter((folder) => !known.includes(folder))).toEqual([]);
    const configuration =
      /^(package(-lock)?\.json|tsconfig(\.\w+)?\.json|biome\.json|(vite|vitest)(\.\w+)?\.config\.ts|\.gitignore)$/;
    const papers = ["README.md", "CHANGELOG.md", "LICENSE", "NOTICE"];
    const topLevel = files.filter((file) => !file.includes("/"));
    expect(topLevel.filter((file) => !configuration.test(file) && !papers.includes(file))).toEqual([]);
  });

  it("keeps every file under 400 lines", () => {
    const long = sources.map((file) => ({ file, lines: read(file).split("\n").length - 1 })).filter(({ lines }) => lines > 400);
    expect(long).toEqual([]);
  });

  it("never reaches for a place that only one machine has", () => {
    const elsewhere = /\.\.\/shared\/|\/(?:work|tmp|root|home)\//;
    expect(sources.filter((file) => file !== "test/repo.test.ts" && elsewhere.test(read(file)))).toEqual([]);
  });
});

describe("kernels", () => {
  const kernels = files.filter((file) => /^wgsl\/[^/]+\.wgsl$/.test(file)).map((file) => path.basename(file, ".wgsl"));

  it("exist", () => expect(kernels).not.toEqual([]));

  it.each(kernels)("%s has a binding, a CPU twin, a test and a row in wgsl/README.md", (name) => {
    const family = [`kernels/${name}.ts`, `kernels/reference/${name}.ts`, `test/kernels/${name}.test.ts`];
    expect(family.filter((file) => !files.includes(file))).toEqual([]);
    expect(read("wgsl/README.md")).toMatch(new RegExp(`^\\| \`${name}\` +\\|`, "m"));
  });
});

describe("error codes", () => {
  const readme = read("README.md");

  it.each(ERROR_CODES)("%s has a row in README and a test", (code) => {
    expect(readme).toMatch(new RegExp(`^\\| \`${code}\` +\\|`, "m"));
    expect(tests.filter((file) => read(file).includes(code))).not.toEqual([]);
  });

  it("are all that README lists", () => {
    expect([...readme.matchAll(/^\| `([A-Z_]+)` +\|/gm)].map((row) => row[1])).toEqual([...ERROR_CODES]);
  });
});

describe("the package", () => {
  const manifest = JSON.parse(read("package.json"));

  it("pins exact versions", () => {
    const versions = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };
    expect(Object.entries(versions).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(String(version)))).toEqual([]);
  });

  it("names no registry in its lock file, so that each user's own is asked", () => {
    const packages: Record<string, { resolved?: string }> = JSON.parse(read("package-lock.json")).packages;
    expect(Object.keys(packages).filter((name) => packages[name].resolved)).toEqual([]);
  });
});
