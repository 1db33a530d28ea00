/** Everything that one decoded token dispatches, taken from the engine itself: what is compiled here is what ships. */
import type { Dispatch, KernelTier, Recorder } from "../../kernels/define-kernel";
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
  /** Which linear a matvec computes; empty for other kernels. */
  use: string;
  /** The shader's variant; empty for the portable one. */
  variant: string;
  dispatch: Dispatch;
}

/**
 * What a decode step dispatches at every shape, for a GPU with subgroups and for one without, and the affine yardstick for
 * every linear; each pipeline once.
 */
export function decodeCompilations(gpu: Gpu): Compilation[] {
  const found = new Map<string, Compilation>();
  for (const [name, config] of Object.entries(SHAPES)) {
    for (const tier of [gpu.tier, { ...gpu.tier, f16: false, subgroupSize: 0 }]) {
      for (const dispatch of decodeStep(gpu, tier, config)) {
        const { kernel, variant, overrides } = dispatch;
        const use = (dispatch.buffers.blocks ?? dispatch.buffers.codes)?.label ?? "";
        const key = `${kernel.name} ${variant} ${JSON.stringify(overrides)}`;
        if (!found.has(key)) found.set(key, { shape: name, kernel: kernel.name, use, variant, dispatch });
      }
    }
  }
  return [...found.values()];
}

function decodeStep(gpu: Gpu, tier: KernelTier, config: ModelConfig): Dispatch[] {
  const dispatches: Dispatch[] = [];
  const recorder: Recorder = { tier, dispatch: (dispatch) => dispatches.push(dispatch) };
  const { weights, linears } = emptyWeights(gpu, config);
  const step = allocateStep(gpu, config, config.contextTokens, 1);
  const { logits, sampling, state, thresholds, best, ids, results } = step;
  const { V } = config;
  forward(recorder, config, weights, step, 1);
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
