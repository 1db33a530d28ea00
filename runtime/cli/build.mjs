/**
 * `npm run build`: everything that is published. dist/index.js and dist/ochre.js, the compiler's worker beside them, dist/cli.js
 * and dist/types/; prints what each costs a visitor, and fails when the script tag's file outgrows its budget or the package
 * would not resolve.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { build } from "vite";
import { buildCli, bundle, root } from "./build-cli.mjs";

const dist = path.dirname(bundle);
const SCRIPT_TAG_BUDGET = 120 * 1024;

fs.rmSync(path.join(dist, "types"), { recursive: true, force: true });
for (const mode of ["index", "script-tag"]) await build({ root, mode, logLevel: "warn", build: { outDir: dist } });
await buildCli();
execFileSync(
  process.execPath,
  [path.join(root, "node_modules/typescript/bin/tsc"), "-p", path.join(root, "tsconfig.build.json")],
  {
    stdio: "inherit",
  },
);

completeImports(path.join(dist, "types"));
writeLicenses();

let failures = 0;
for (const name of ["index.js", "ochre.js", "ochre-compiler.js", "cli.js"]) {
  const bytes = fs.readFileSync(path.join(dist, name));
  const gzip = gzipSync(bytes, { level: 9 }).length;
  const over = name === "ochre.js" && gzip >= SCRIPT_TAG_BUDGET;
  if (over) failures++;
  console.log(
    `dist/${name.padEnd(17)} ${kilobytes(bytes.length)} raw ${kilobytes(gzip)} gzip${over ? `  over its budget of ${SCRIPT_TAG_BUDGET / 1024} KB` : ""}`,
  );
}
const { messages, pkg } = await publint({ pkgDir: root, strict: true });
for (const message of messages) {
  failures++;
  console.error(`publint: ${formatMessage(message, pkg)}`);
}
if (failures > 0) process.exitCode = 1;

/**
 * Adds the extensions that the sources leave to the bundler: TypeScript's `nodenext` users need them in declarations.
 * @param {string} folder
 */
function completeImports(folder) {
  for (const name of fs.readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".d.ts")) continue;
    const file = path.join(folder, name);
    const text = fs.readFileSync(file, "utf8");
    const complete = text.replace(
      /((?:from|import) "|import\(")(\.[^"]*)"/g,
      (_, before, module) =>
        // TypeScript writes ".." for "../index".
        `${before}${/(^|\/)\.\.?$/.test(module) ? `${module}/index` : module}.js"`,
    );
    fs.writeFileSync(file, complete);
  }
}

/** The licenses of what is bundled, which ask to travel with it. */
function writeLicenses() {
  const { dependencies } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
  const texts = Object.keys(dependencies).map((name) => {
    const folder = path.join(root, "node_modules", name);
    const file = fs.readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} carries no license file.`);
    return `${name}\n${"=".repeat(name.length)}\n${fs.readFileSync(path.join(folder, file), "utf8").trim()}\n`;
  });
  fs.writeFileSync(path.join(dist, "licenses.txt"), texts.join("\n\n"));
}

/** @param {number} bytes */
function kilobytes(bytes) {
  return `${(bytes / 1024).toFixed(1).padStart(7)} KB`;
}
