/**
 * Where the time of one decoded token goes: each kernel of the pass, with its matrix, timed by itself over all the layers that
 * have it, on the model's own weights. A layer's weights are met again only after those of all others, as in decoding; what is
 * left out is what the kernels cost each other.
 */
import type { Dispatch } from "../../kernels/define-kernel";
import { Program } from "../gpu/program";
import { forward, head } from "./forward";
import { allocateStep, releaseStep, STATE_BYTES } from "./step-buffers";
import type { SequenceModel } from "./step-programs";

export interface KernelTime {
  /** Base name of the shader. */
  kernel: string;
  /** The matrix that it multiplies by, as `qkv_proj`; empty for other kernels. */
  weights: string;
  /** In one token's pass. */
  dispatches: number;
  /** Milliseconds of all of them. */
  ms: number;
  /** What all of them read and write. */
  bytes: number;
  multiplyAdds: number;
}

export interface ProfileOptions {
  /** Tokens in the cache. Default 0. */
  depth?: number;
  onRow?: (row: KernelTime) => void;
  signal?: AbortSignal;
}

/** A timing takes at least so long, or what it costs to submit would show. */
const TIMING_MS = 20;
const MOST_REPLAYS = 64;

/** @throws OchreError GPU_MEMORY, GPU_LOST; the signal's reason on abort. */
export async function profileToken(
  model: SequenceModel,
  { depth = 0, onRow, signal }: ProfileOptions = {},
): Promise<KernelTime[]> {
  const { gpu, config, weights, kv } = model;
  // A window that is just full, for costs count growing lengths at their most.
  const step = await gpu.allocating(() => allocateStep(gpu, config, depth + 1, 1, kv));
  try {
    const state = new Uint32Array(STATE_BYTES / 4);
    state.set([depth, 1, 0]); // position, count, row
    gpu.write(step.state, 0, state);
    const dispatches: Dispatch[] = [];
    const recorder = { tier: gpu.tier, dispatch: (dispatch: Dispatch) => void dispatches.push(dispatch) };
    forward(recorder, config, weights, step, 1);
    head(recorder, config, weights, step);
    const rows: KernelTime[] = [];
    for (const alike of group(dispatches)) {
      signal?.throwIfAborted();
      const program = await Program.record(gpu, (recorder) => {
        for (const dispatch of alike) recorder.dispatch(dispatch);
      });
      const sum = (name: "bytesRead" | "bytesWritten" | "multiplyAdds") =>
        alike.reduce((total, { cost }) => total + cost[name], 0);
      const row: KernelTime = {
        kernel: alike[0].kernel.name,
        weights: weightsOf(alike[0]),
        dispatches: alike.length,
        ms: await time(model, program),
        bytes: sum("bytesRead") + sum("bytesWritten"),
        multiplyAdds: sum("multiplyAdds"),
      };
      rows.push(row);
      onRow?.(row);
    }
    return rows;
  } finally {
    releaseStep(gpu, step);
  }
}

/** The loader names a layer's buffers after the layer and the matrix. */
function weightsOf({ buffers }: Dispatch): string {
  const names = Object.values(buffers).map(({ label }) => /^layer \d+ (\w+_proj)/.exec(label)?.[1]);
  return names.find((name) => name !== undefined) ?? "";
}

/** Dispatches of one pipeline and one kind of matrix together, in the order of their first. */
function group(dispatches: readonly Dispatch[]): Dispatch[][] {
  const groups = new Map<string, Dispatch[]>();
  for (const dispatch of dispatches) {
    const key = JSON.stringify([dispatch.kernel.name, dispatch.variant, dispatch.overrides, dispatch.shape, weightsOf(dispatch)]);
    groups.set(key, [...(groups.get(key) ?? []), dispatch]);
  }
  return [...groups.values()];
}

/** Milliseconds of one replay. */
async function time({ gpu }: SequenceModel, program: Program): Promise<number> {
  const replay = async (times: number) => {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let i = 0; i < times; i++) program.replay(pass);
    pass.end();
    const commands = encoder.finish();
    const startedAt = performance.now();
    gpu.device.queue.submit([commands]);
    await gpu.device.queue.onSubmittedWorkDone();
    gpu.check();
    return (performance.now() - startedAt) / times;
  };
  await replay(1); // the first run of a pipeline is not like the others
  const once = await replay(1);
  const times = Math.min(MOST_REPLAYS, Math.ceil(TIMING_MS / once));
  return times > 1 ? replay(times) : once;
}
