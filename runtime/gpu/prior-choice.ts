/** Which kernels to run before anything was measured: by what the adapter says of itself. The tuner starts from here. */
import type { KernelChoice } from "../../kernels/define-kernel";

export interface AdapterTraits {
  vendor: string;
  architecture: string;
  /** A software adapter. */
  isFallback: boolean;
  /** WGSL has dot4I8Packed. */
  packedDot: boolean;
}

interface Prior {
  vendor: string;
  /** Start of WebGPU's name for the architecture; every one where absent. */
  architecture?: string;
  choice: Partial<KernelChoice>;
}

/** The first row that fits counts. A GPU without a row, or one that the browser does not name, runs the portable kernels. */
const PRIORS: readonly Prior[] = [
  // Has dp4a from Pascal on; a decode path like ours made llama.cpp 10 to 13 % faster on a V100 (its pull request 23594).
  { vendor: "nvidia", choice: { int8: true } },
  // llama.cpp turns its int8 decode on for Intel's GPUs too.
  { vendor: "intel", choice: { int8: true } },
  // Before RDNA there is no dp4a: emulated, it costs half as many instructions again (vega10, 5.0 a weight for 3.2), and halves
  // must be widened before they can be multiplied and added (3.2 for 2.2), so tables of pairs hold f32.
  { vendor: "amd", architecture: "gcn", choice: { f32Pairs: true } },
  // dp4a came with the second generation; until tried, the first runs the portable kernels.
  { vendor: "amd", architecture: "rdna-1", choice: {} },
  // Fewest instructions a weight by their compiler's output: 2.2 for 2.7 on navi31, 1.7 for 2.2 on navi21.
  { vendor: "amd", choice: { int8: true } },
  // ONNX Runtime takes dp4a on Adreno by default.
  { vendor: "qualcomm", choice: { int8: true } },
  // Metal has no dp4a: emulated, it cost llama.cpp a little on an M2.
  { vendor: "apple", choice: {} },
];

export function priorChoice({ vendor, architecture, isFallback, packedDot }: AdapterTraits): KernelChoice {
  const portable: KernelChoice = { software: isFallback, int8: false, f32Pairs: false, lanes: 0 };
  // A look-up costs software several times what a multiplication does: linears in int8 take a quarter of the time.
  if (isFallback) return { ...portable, int8: packedDot };
  const row = PRIORS.find((prior) => prior.vendor === vendor && architecture.startsWith(prior.architecture ?? ""));
  const choice = { ...portable, ...row?.choice };
  return { ...choice, int8: choice.int8 && packedDot };
}
