import { packSampling, type SamplingParams } from "../../runtime/engine/sampling";
import type { Gpu } from "../../runtime/gpu/device";
import { READABLE } from "./harness";

export const samplingBuffer = (gpu: Gpu, params: Partial<SamplingParams>): GPUBuffer =>
  gpu.upload("sampling", packSampling({ temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [], ...params }), READABLE);
