import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Allocation, allocate, allocateBits, type BlockChoices, checkAllocation } from "../../runtime/palettize/allocate";
import { averageBits, modelLinears, planTensors } from "../../runtime/palettize/plan";
import { tinyConfig } from "./checkpoint";
import { makeRandom } from "./random";

const totals = (blocks: readonly BlockChoices[], chosen: ArrayLike<number>) => {
  const sum = (of: "costs" | "damages") => blocks.reduce((total, block, i) => total + block[of][chosen[i]], 0);
  return { cost: sum("costs"), damage: sum("damages") };
};

/** The least damage of all choices within the budget. */
function bruteForce(blocks: readonly BlockChoices[], budget: number): number {
  let best = Number.POSITIVE_INFINITY;
  const chosen = blocks.map(() => 0);
  const visit = (block: number) => {
    if (block === blocks.length) {
      const { cost, damage } = totals(blocks, chosen);
      if (cost <= budget) best = Math.min(best, damage);
      return;
    }
    for (let i = 0; i < blocks[block].costs.length; i++) {
      chosen[block] = i;
      visit(block + 1);
    }
    chosen[block] = 0;
  };
  visit(0);
  return best;
}

/** Damages that fall with the width, more or less by 4 a bit as quantization errors do; some of them less for the second bit than for the first, some more. */
const someBlock = fc
  .record({
    size: fc.integer({ min: 1, max: 6 }),
    first: fc.double({ min: 0.01, max: 9 }),
    drops: fc.tuple(fc.double({ min: 0.1, max: 0.9 }), fc.double({ min: 0.1, max: 0.9 })),
  })
  .filter(({ first, drops }) => Number.isFinite(first + drops[0] + drops[1]))
  .map(
    ({ size, first, drops: [a, b] }): BlockChoices => ({
      costs: [2 * size, 3 * size, 4 * size],
      damages: [first, first * a, first * a * b],
    }),
  );

describe("allocate", () => {
  it("is the best there is wherever steps are alike and each bit helps less than the one before", () => {
    const random = makeRandom(1);
    for (let round = 0; round < 30; round++) {
      const blocks = Array.from({ length: 6 }, (): BlockChoices => {
        const first = 10 * random.uniform();
        const second = first * (0.2 + 0.3 * random.uniform());
        return { costs: [2, 3, 4], damages: [first, second, second * 0.4 * random.uniform()] };
      });
      for (let budget = 12; budget <= 25; budget++) {
        const { cost, damage } = totals(blocks, allocate(blocks, budget));
        expect(damage).toBeCloseTo(bruteForce(blocks, budget), 12);
        expect(cost).toBe(Math.min(budget, 24));
      }
    }
  });

  it("of blocks of any size never exceeds the budget, and what it spends no choice spends better by more than a step", () => {
    fc.assert(
      fc.property(
        fc.array(someBlock, { minLength: 1, maxLength: 6 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (blocks, share) => {
          const [least, most] = [0, 2].map(
            (i) =>
              totals(
                blocks,
                blocks.map(() => i),
              ).cost,
          );
          const budget = least + share * (most - least);
          const { cost, damage } = totals(blocks, allocate(blocks, budget));
          expect(cost).toBeLessThanOrEqual(budget);
          const largest = Math.max(...blocks.map(({ damages }) => damages[0] - damages[2]));
          const best = bruteForce(blocks, budget);
          expect(damage - best).toBeLessThanOrEqual(largest + 1e-9);
          // What is left over would not have paid for another bit anywhere.
          const chosen = allocate(blocks, budget);
          blocks.forEach(({ costs }, i) => {
            if (chosen[i] < 2) expect(cost - costs[chosen[i]] + costs[chosen[i] + 1]).toBeGreaterThan(budget);
          });
        },
      ),
    );
  });

  it("equals brute force wherever the budget is what the steepest steps take", () => {
    fc.assert(
      fc.property(
        fc.array(someBlock, { minLength: 1, maxLength: 6 }),
        fc.double({ min: 0.001, max: 5, noNaN: true }),
        (blocks, price) => {
          // Each block by itself at a price of damage for a bit: a Lagrangian solution, the best for what it spends.
          const chosen = blocks.map(({ costs, damages }) => {
            const loss = costs.map((cost, i) => damages[i] + price * cost);
            return loss.indexOf(Math.min(...loss));
          });
          const { cost, damage } = totals(blocks, chosen);
          expect(totals(blocks, allocate(blocks, cost)).damage).toBeCloseTo(bruteForce(blocks, cost), 9);
          expect(damage).toBeCloseTo(bruteForce(blocks, cost), 9);
        },
      ),
    );
  });

  it("goes from 2 to 4 bits at once where the third alone helps little", () => {
    const blocks = [
      { costs: [2, 3, 4], damages: [10, 9.9, 0] },
      { costs: [2, 3, 4], damages: [3, 1, 0.5] },
    ];
    expect([...allocate(blocks, 6)]).toEqual([2, 0]);
    expect([...allocate(blocks, 5)]).toEqual([0, 1]);
  });

  it("takes equals in order, and nothing where it does not help", () => {
    const alike = Array.from({ length: 4 }, () => ({ costs: [2, 3], damages: [1, 0] }));
    expect([...allocate(alike, 10)]).toEqual([1, 1, 0, 0]);
    expect([...allocate([{ costs: [2, 3, 4], damages: [1, 1, 2] }], 100)]).toEqual([0]);
  });

  it("refuses a budget below the least", () => {
    const blocks = [
      { costs: [2, 3], damages: [1, 0] },
      { costs: [4], damages: [0] },
    ];
    expect([...allocate(blocks, 6)]).toEqual([0, 0]);
    expect(() => allocate(blocks, 5.9)).toThrow("bits must suffice for 6 but there are 5.9");
  });
});

const config = tinyConfig({ D: 64, H: 4, G: 2, d: 16, F: 160 });

/** Damages as errors fall with bits, of another size for each block. */
function someDamages(widths = [2, 3, 4]) {
  const random = makeRandom(7);
  return new Map(
    modelLinears(config).map(({ name, blocks }) => {
      const sizes = Array.from({ length: blocks }, () => Math.exp(3 * random.normal()));
      return [name, widths.map((width) => Float64Array.from(sizes, (size) => size * 4 ** -width))] as const;
    }),
  );
}

describe("allocateBits", () => {
  const largestBlock = (16 * 192 * 2 + 192) / modelLinears(config).reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const averageOf = (allocation: Allocation) => {
    const bits = allocateBits(config, someDamages(allocation.widths as number[]), allocation);
    return averageBits(config, planTensors(config, bits));
  };

  it.each([2.9, 3.1, 3.5, 3.77, 4.2])("the tensors' own average is at most %f, and less than one block below", (target) => {
    for (const widths of [
      [2, 3, 4],
      [2, 4],
    ]) {
      const average = averageOf({ averageBits: target, widths });
      expect(average).toBeLessThanOrEqual(target);
      expect(average).toBeGreaterThan(target - largestBlock);
    }
  });

  it.each([{ kept: 8 }, { elastic: true }, { kept: 3, elastic: true }])("counts what %o takes beside the codes", (extras) => {
    const bits = allocateBits(config, someDamages(), { averageBits: 3.5 }, extras);
    const average = averageBits(config, planTensors(config, bits, extras));
    expect(average).toBeLessThanOrEqual(3.5);
    expect(average).toBeGreaterThan(3.5 - largestBlock);
    expect(averageBits(config, planTensors(config, bits))).toBeLessThan(average);
  });

  it("gives every block the most where the average allows it", () => {
    const bits = allocateBits(config, someDamages(), { averageBits: 16 });
    expect(new Set([...bits.values()].flatMap((widths) => [...widths]))).toEqual(new Set([4]));
  });

  it("only takes the widths it may, and spends where damage and sensitivity are high", () => {
    const even = new Map(
      modelLinears(config).map(({ name, blocks }) => [name, [2, 4].map((width) => new Float64Array(blocks).fill(4 ** -width))]),
    );
    const sensitivities = { "model.layers.1.mlp.up_proj": 100 };
    const bits = allocateBits(config, even, { averageBits: 3.3, widths: [2, 4], sensitivities });
    expect(new Set([...bits.values()].flatMap((widths) => [...widths]))).toEqual(new Set([2, 4]));
    expect([...bits.get("model.layers.1.mlp.up_proj")!]).toEqual(Array(10).fill(4));
    const unmoved = allocateBits(config, even, {
      averageBits: 3.3,
      widths: [2, 4],
      sensitivities: { "model.layers.1.mlp.up_proj": 0 },
    });
    expect([...unmoved.get("model.layers.1.mlp.up_proj")!]).toEqual(Array(10).fill(2));
  });

  it("honours what is fixed, by name or by ending, and pays for it elsewhere", () => {
    const fix = { "model.layers.0.mlp.up_proj": 2, "mlp.up_proj": 3, o_proj: 4 };
    const damages = new Map(
      [...someDamages()].map(([name, lists]) => [name, /up_proj|o_proj/.test(name) ? lists.slice(0, 1) : lists]),
    );
    const bits = allocateBits(config, damages, { averageBits: 3.5, fix });
    expect(new Set(bits.get("model.layers.0.mlp.up_proj"))).toEqual(new Set([2]));
    expect(new Set(bits.get("model.layers.1.mlp.up_proj"))).toEqual(new Set([3]));
    for (const layer of [0, 1]) expect(new Set(bits.get(`model.layers.${layer}.self_attn.o_proj`))).toEqual(new Set([4]));
    expect(averageBits(config, planTensors(config, bits))).toBeLessThanOrEqual(3.5);
  });
});

describe("checkAllocation refuses", () => {
  it.each<[Partial<Allocation>, RegExp]>([
    [{ averageBits: 0 }, /above 0 and at most 16 bits but is 0/],
    [{ averageBits: Number.NaN }, /but is NaN/],
    [{ averageBits: 2 }, /must be 2\.\d{4} bits or more for these widths, palettes, scales and kept columns counted, but is 2\./],
    [{ averageBits: 4, fix: { "mlp.up_proj": 4 }, widths: [4] }, /must be 4\.\d{4} bits or more/],
    [{ widths: [] }, /rising, but are \./],
    [{ widths: [4, 2] }, /rising, but are 4,2/],
    [{ widths: [2, 2] }, /rising/],
    [{ widths: [2, 5] }, /widths must be some of 2, 3 and 4/],
    [{ fix: { "mlp.up_proj": 5 } }, /that of mlp.up_proj is 5/],
    [{ fix: { up_prj: 4 } }, /no linear is called up_prj/],
    [{ fix: { p_proj: 4 } }, /no linear is called p_proj/],
    [{ sensitivities: { "model.layers.2.mlp.up_proj": 1 } }, /name model.layers.2.mlp.up_proj/],
    [{ sensitivities: { "model.layers.0.mlp.up_proj": -1 } }, /is -1/],
    [{ sensitivities: { "model.layers.0.mlp.up_proj": Number.NaN } }, /is NaN/],
  ])("%o", (change, message) => {
    expect(() => checkAllocation(config, { averageBits: 3.5, ...change })).toThrow(message);
  });
});
