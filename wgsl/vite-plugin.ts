/**
 * Build step for shaders. `import variants from "../wgsl/name.wgsl"` yields one text for each variant:
 *
 * - `// #import lib/x` (its own line) is replaced by `lib/x.wgsl`. Where `lib/x.f16.wgsl` or
 *   `lib/x.subgroups.wgsl` stands beside it, the shader has that variant too, and the variant's text
 *   imports that file instead: a variant is a choice of library files, so shaders carry no conditionals.
 * - `enable` and `requires` directives move to the top, where WGSL wants them.
 * - Comments and blank lines are stripped: they are for readers of the repository, not for users' bandwidth.
 * - In a bundle every stretch of text between two imports stands once, in a module of its own, and shaders are lists of them: with
 *   their texts in full, variants and shared libraries would be two fifths of what a page loads.
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

/** Text between two imports of one file. */
interface Piece {
  file: string;
  index: number;
  text: string;
}

/** The shader's pieces in order, those of its imports in their places, and what was read to make them. */
function assemble(file: string, features: readonly Feature[], seen: Set<string>, used: Set<Feature>): Piece[] {
  // Of the split, every second part is the name of an import.
  return fs
    .readFileSync(file, "utf8")
    .split(IMPORT)
    .flatMap((part, i) => {
      if (i % 2 === 0) return [{ file, index: i / 2, text: minify(part) }];
      const library = libraryFile(part, features);
      if (library.feature) used.add(library.feature);
      if (seen.has(library.file)) return [];
      seen.add(library.file);
      return assemble(library.file, features, seen, used);
    })
    .filter(({ text }) => text !== "");
}

function minify(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/\/\/.*$/gm, "")
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean)
    .join("\n");
}

const DIRECTIVE = /^(?:enable|requires|diagnostic)\b.*\n?/gm;

/** `enable` and the like of all pieces, each once. */
const directives = (pieces: readonly Piece[]): string[] =>
  [...new Set(pieces.flatMap(({ text }) => text.match(DIRECTIVE) ?? []).map((line) => line.trim()))].sort();

const withoutDirectives = ({ text }: Piece): string => text.replace(DIRECTIVE, "").trim();

/** Variant key ("", "f16", "subgroups", "f16+subgroups") to its pieces. */
function variantPieces(file: string, onRead: (file: string) => void): Record<string, Piece[]> {
  const variants: Record<string, Piece[]> = {};
  for (let mask = 0; mask < 1 << FEATURES.length; mask++) {
    const features = FEATURES.filter((_, i) => mask & (1 << i));
    const seen = new Set<string>([file]);
    const used = new Set<Feature>();
    const pieces = assemble(file, features, seen, used);
    for (const read of seen) onRead(read);
    variants[FEATURES.filter((feature) => used.has(feature)).join("+")] ??= pieces;
  }
  return variants;
}

/** Variant key to WGSL text. */
export function shaderVariants(file: string, onRead: (file: string) => void = () => {}): Record<string, string> {
  const entries = Object.entries(variantPieces(file, onRead));
  return Object.fromEntries(
    entries.map(([key, pieces]) => [key, [...directives(pieces), ...pieces.map(withoutDirectives).filter(Boolean)].join("\n")]),
  );
}

/** Of a module that holds one piece. */
const PIECE = /^(.*\.wgsl)\?piece=(\d+)$/;

/** A module whose default export is `shaderVariants`, put together at run time of pieces that other shaders may share. */
function shaderModule(file: string, onRead: (file: string) => void): string {
  const names = new Map<string, string>();
  const nameOf = ({ file: of, index }: Piece): string => {
    const id = `./${path.relative(path.dirname(file), of).replaceAll(path.sep, "/")}?piece=${index}`;
    if (!names.has(id)) names.set(id, `p${names.size}`);
    return names.get(id)!;
  };
  const variants = Object.entries(variantPieces(file, onRead)).map(([key, pieces]) => {
    const parts = pieces.filter((piece) => withoutDirectives(piece) !== "").map(nameOf);
    return `${JSON.stringify(key)}: [${[...directives(pieces).map((line) => JSON.stringify(line)), ...parts].join(", ")}].join("\\n")`;
  });
  const imports = [...names].map(([id, name]) => `import ${name} from ${JSON.stringify(id)};`);
  return `${imports.join("\n")}\nexport default { ${variants.join(", ")} };`;
}

export function wgsl(): Plugin {
  return {
    name: "ochre:wgsl",
    enforce: "pre",
    load(id) {
      const [, pieceFile, index] = PIECE.exec(id) ?? [];
      if (pieceFile) {
        const part = fs.readFileSync(pieceFile, "utf8").split(IMPORT)[2 * Number(index)];
        const text = withoutDirectives({ file: pieceFile, index: Number(index), text: minify(part) });
        return { code: `export default ${JSON.stringify(text)};`, map: { mappings: "" } };
      }
      const file = id.split("?")[0];
      if (!file.endsWith(".wgsl")) return null;
      return { code: shaderModule(file, (read) => this.addWatchFile(read)), map: { mappings: "" } };
    },
  };
}
