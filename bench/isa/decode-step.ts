/** Everything that one decoded token dispatches, taken from the engine itself: what is compiled here is what ships. */
import { type Dispatch, type KernelTier, MOST_FEW, type Recorder } from "../../kernels/define-kernel";
import type { PaletteWeights } from "../../kernels/palette-weights";
import { sampleGumbel } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { sampleThreshold } from "../../kernels/sample-threshold";
import type { ModelConfig } from "../../runtime/engine/config";
import { forward, head } from "../../runtime/engine/forward";
import { allocateStep } from "../../runtime/engine/step-buffers";
import type { ModelWeights } from "../../runtime/engine/weights";
import type { Gpu } from "../../runtime/gpu/device";
import { affineYardstick } from "./affine";

const shape = (D: number, H: number, G: number, d: number, F: number): ModelConfig => ({
  ...{ D, H, G, d, F },
  family: "llama",
  L: 1,
  V: 49152,
  contextTokens: 2048,
  normEps: 1e-5,
  rope: { theta: 10000 },
  tiedHead: true,
  eosIds: [],
});

/** The sample model's widths, and those of a model of 3 billion parameters. One layer stands for all. */
export const SHAPES: Record<string, ModelConfig> = { sample: shape(576, 9, 3, 64, 1536), "3B": shape(3072, 24, 8, 128, 8192) };

export interface Compilation {
  shape: string;
  kernel: string;
  /** Which linear a matvec computes, and for how many tokens if not one; empty for other kernels. */
  use: string;
  /** What a table of pairs holds: f16 or f32 entries; empty for kernels without one, or with one of int8. */
  pairs: string;
  /** The shader's variant; empty for the portable one. */
  variant: string;
  dispatch: Dispatch;
}

/**
 * What a decode step dispatches at every shape, for a GPU with subgroups and for one without, in floats and, where that is the
 * choice for this chip, in int8; with subgroups also for the most tokens of such a step; and the affine yardstick for every linear. Each
 * pipeline once.
 */
export function decodeCompilations(gpu: Gpu): Compilation[] {
  const found = new Map<string, Compilation>();
  for (const [name, config] of Object.entries(SHAPES)) {
    for (const tier of tiers(gpu.tier)) {
      for (const dispatch of decodeStep(gpu, tier, config)) {
        const { kernel, variant, overrides } = dispatch;
        const linear = (dispatch.buffers.blocks ?? dispatch.buffers.codes)?.label ?? "";
        const use = overrides.TOKENS > 1 ? `${linear} x${overrides.TOKENS}` : linear;
        const pairs = overrides.F32_PAIRS === undefined ? "" : overrides.F32_PAIRS ? "f32" : "f16";
        const key = `${kernel.name} ${variant} ${JSON.stringify(overrides)}`;
        if (!found.has(key)) found.set(key, { shape: name, kernel: kernel.name, use, pairs, variant, dispatch });
      }
    }
  }
  return [...found.values()];
}

function tiers(own: KernelTier): KernelTier[] {
  const floats = { ...own, int8: false };
  const all = own.int8 ? [floats, own] : [floats];
  return all.flatMap((tier) => [tier, { ...tier, f16: false, subgroupSize: 0 }]);
}

function decodeStep(gpu: Gpu, tier: KernelTier, config: ModelConfig): Dispatch[] {
  const dispatches: Dispatch[] = [];
  const recorder: Recorder = { tier, dispatch: (dispatch) => dispatches.push(dispatch) };
  const { weights, linears } = emptyWeights(gpu, config);
  const step = { ...allocateStep(gpu, config, config.contextTokens, MOST_FEW), int8: tier.int8 };
  const { logits, sampling, state, thresholds, best, ids, results } = step;
  const { V } = config;
  forward(recorder, config, weights, step, 1);
  if (tier.subgroupSize > 0) forward(recorder, config, weights, step, MOST_FEW);
  head(recorder, config, weights, step);
  sampleThreshold(recorder, { logits, V, sampling, state, thresholds });
  sampleGumbel(recorder, { logits, V, sampling, state, thresholds, best });
  samplePick(recorder, { best, V, sampling, state, ids, results });
  for (const { rows, cols, blocks: any } of linears) {
    affineYardstick(recorder, rows, cols, { codes: any, scale_zero: any, x: any, y: any });
  }
  return dispatches;
}

/** Weights of the right shapes in buffers of no size: pipelines are compiled without ever being bound. */
function emptyWeights(gpu: Gpu, { D, H, G, d, F, V }: ModelConfig): { weights: ModelWeights; linears: PaletteWeights[] } {
  const linear = (name: string, rows: number, cols: number): PaletteWeights => {
    const any = gpu.buffer(name, 16);
    return { rows, cols, plane0: any, plane1: any, plane2: any, blocks: any, bytes: 0 };
  };
  const any = gpu.buffer("", 16);
  const table = { table: any, rowScale: any, V, D, bytes: 0 };
  const layer = {
    qkv_proj: linear("qkv_proj", (H + 2 * G) * d, D),
    o_proj: linear("o_proj", D, H * d),
    gate_up_proj: linear("gate_up_proj", 2 * F, D),
    down_proj: linear("down_proj", D, F),
  };
  // The rotation's two factors, as formats/rotation.ts splits these widths.
  const hadamard = D & -D;
  const rotation = { buffer: any, dct: D / hadamard, hadamard };
  const weights = { embedding: table, head: table, rotation, norm: any, layers: [layer], bytes: 0, bytesPerToken: 0 };
  return { weights, linears: Object.values(layer) };
}
