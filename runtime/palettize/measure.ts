/**
 * The pass before the allocation: what every block's error does to its linear's output at every width that it may have.
 *
 * It is measured after error feedback, not before: feedback takes away much more of the error where inputs are correlated, by a
 * factor that differs between linears and between widths, so that the error before it would misjudge what remains. It also comes
 * out of the assignment for nothing (`assignWithFeedback`), where the error before would take a product with the moments for each row.
 */
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import { PALETTE_ROWS } from "../formats/palettized";
import { type Allocation, type Damages, widthsOf } from "./allocate";
import { codeOver } from "./code-linear";
import type { FoldedLinear } from "./layers";
import type { CompilerPool } from "./tasks";

/**
 * Per token of the probe, so that measurements over different numbers of tokens compare.
 * @param linears Every linear of the model, with inputs. One that is fixed to a width costs no time.
 * @param onLinear Called after each.
 */
export async function measureDamages(
  config: ModelConfig,
  linears: AsyncIterable<FoldedLinear>,
  tokens: number,
  allocation: Allocation,
  pool: CompilerPool,
  onLinear: (name: string) => void,
  elastic = false,
): Promise<Damages> {
  const damages = new Map<string, Float64Array[]>();
  for await (const { name, linear, weight, inputs } of linears) {
    const [rows, cols] = linearShape(config, linear);
    const widths = widthsOf(name, allocation);
    const errorsAt = async (width: number): Promise<Float64Array> => {
      const bits = new Uint8Array(Math.ceil(rows / PALETTE_ROWS)).fill(width);
      if (widths.length === 1) return new Float64Array(bits.length);
      const { outputErrors } = await codeOver(pool, weight, bits, cols, inputs, elastic);
      return outputErrors.map((error) => error / tokens);
    };
    damages.set(name, await Promise.all(widths.map(errorsAt)));
    onLinear(name);
  }
  return damages;
}
