/** A whole checkpoint compiled on the GPU and on the CPU. */
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import { compareModels, describeComparison } from "../../runtime/cli/compare";
import { palettizeTo } from "../../runtime/cli/palettize";

const tiny = fileURLToPath(new URL("../golden/tiny/llama", import.meta.url));
const folder = path.join(tmpdir(), `ochre-compile-${process.pid}`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the compiler on the GPU", () => {
  it.each([
    { name: "4 bits", options: {} },
    { name: "widths chosen", options: { allocation: { averageBits: 4 } } },
    { name: "without inputs", options: { probeTokens: 0 } },
  ])("$name: the same model as on the CPU", async ({ name, options }) => {
    vi.spyOn(console, "log").mockImplementation(() => {});
    const [cpu, gpu] = ["cpu", "gpu"].map((side) => path.join(folder, `${name} ${side}`));
    await palettizeTo(tiny, cpu, { probeTokens: 96, ...options, gpu: "off" });
    await palettizeTo(tiny, gpu, { probeTokens: 96, ...options, gpu: "on" });
    const comparison = await compareModels(cpu, gpu);
    expect(comparison.blocks.all).toBeGreaterThan(100);
    expect(describeComparison(comparison)).toMatch(/^the same: /);
  });
});
