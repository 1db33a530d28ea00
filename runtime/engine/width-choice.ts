/** Widths as a caller writes them, for the blocks of the linears that they name. */
import { OchreError } from "../errors";

/**
 * Name of a linear to the bits that its blocks may have at most: 2, 3 or 4. A name is whole (`model.layers.3.mlp.down_proj`) or the end
 * of one behind a dot (`mlp.down_proj`: in every layer), and `*` in it stands for anything. Of several that fit the last counts.
 */
export type WidthChoice = Readonly<Record<string, number>>;

/**
 * Widths of every linear that the choice names; blocks that are stored with fewer bits keep what they have.
 * @throws OchreError INVALID_ARGUMENT for a width other than 2, 3 and 4, a name that fits no linear, or a width that none of the
 *   blocks it names is stored with.
 */
export function chooseBits(
  choice: WidthChoice,
  linears: readonly { name: string; stored: { bits: Uint8Array } }[],
): Map<string, Uint8Array> {
  const chosen = new Map<string, Uint8Array>();
  for (const [name, width] of Object.entries(choice)) {
    if (width !== 2 && width !== 3 && width !== 4) throw invalid(`bits of "${name}" must be 2, 3 or 4 but are ${String(width)}.`);
    const fits = pattern(name);
    const fitting = linears.filter((linear) => fits.test(linear.name));
    if (fitting.length === 0) {
      const why = linears.length === 0 ? "this model is not palettized" : `this model has none, but ${linears.at(-1)!.name}`;
      throw invalid(`"${name}" must name a linear, or the end of one as "mlp.down_proj", but ${why}.`);
    }
    const most = Math.max(...fitting.map(({ stored }) => Math.max(...stored.bits)));
    if (width > most) throw invalid(`bits of "${name}" must be at most ${most}, as they are stored, but are ${width}.`);
    for (const { name, stored } of fitting)
      chosen.set(
        name,
        stored.bits.map((own) => Math.min(own, width)),
      );
  }
  return chosen;
}

function pattern(name: string): RegExp {
  const literal = name.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(^|\\.)${literal.join(".*")}$`);
}

const invalid = (what: string): OchreError => new OchreError("INVALID_ARGUMENT", `[setBits] ${what}`);
