/**
 * Build step for shaders. `import variants from "../wgsl/name.wgsl"` yields one text for each variant:
 *
 * - `// #import lib/x` (its own line) is replaced by `lib/x.wgsl`. Where `lib/x.f16.wgsl` or
 *   `lib/x.subgroups.wgsl` stands beside it, the shader has that variant too, and the variant's text
 *   imports that file instead: a variant is a choice of library files, so shaders carry no conditionals.
 * - `enable` and `requires` directives move to the top, where WGSL wants them.
 * - Comments and blank lines are stripped: they are for readers of the repository, not for users' bandwidth.
 */
import fs from "node:fs";
import path from "node:path";
import type { Plugin } from "vite";

const IMPORT = /^[ \t]*\/\/ #import (\S+)[ \t]*$/gm;
const FEATURES = ["f16", "subgroups"] as const;
type Feature = (typeof FEATURES)[number];

const wgslRoot = import.meta.dirname;

function libraryFile(name: string, features: readonly Feature[]): { file: string; feature?: Feature } {
  for (const feature of features) {
    const file = path.join(wgslRoot, `${name}.${feature}.wgsl`);
    if (fs.existsSync(file)) return { file, feature };
  }
  return { file: path.join(wgslRoot, `${name}.wgsl`) };
}

/** The shader's text with its imports, and what was read to make it. */
function assemble(file: string, features: readonly Feature[], seen: Set<string>, used: Set<Feature>): string {
  return fs.readFileSync(file, "utf8").replace(IMPORT, (_, name: string) => {
    const library = libraryFile(name, features);
    if (library.feature) used.add(library.feature);
    if (seen.has(library.file)) return "";
    seen.add(library.file);
    return assemble(library.file, features, seen, used);
  });
}

function minify(text: string): string {
  const lines = text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/\/\/.*$/gm, "")
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  const directive = /^(enable|requires|diagnostic)\b/;
  const directives = [...new Set(lines.filter((line) => directive.test(line)))].sort();
  return [...directives, ...lines.filter((line) => !directive.test(line))].join("\n");
}

/** Variant key ("", "f16", "subgroups", "f16+subgroups") to WGSL text. */
export function shaderVariants(file: string, onRead: (file: string) => void = () => {}): Record<string, string> {
  const variants: Record<string, string> = {};
  for (let mask = 0; mask < 1 << FEATURES.length; mask++) {
    const features = FEATURES.filter((_, i) => mask & (1 << i));
    const seen = new Set<string>([file]);
    const used = new Set<Feature>();
    const text = assemble(file, features, seen, used);
    for (const read of seen) onRead(read);
    const key = FEATURES.filter((feature) => used.has(feature)).join("+");
    variants[key] ??= minify(text);
  }
  return variants;
}

export function wgsl(): Plugin {
  return {
    name: "ochre:wgsl",
    enforce: "pre",
    load(id) {
      const file = id.split("?")[0];
      if (!file.endsWith(".wgsl")) return null;
      const variants = shaderVariants(file, (read) => this.addWatchFile(read));
      return { code: `export default ${JSON.stringify(variants)};`, map: { mappings: "" } };
    },
  };
}
