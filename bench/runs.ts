/** What is measured, what runs now, and what came out. */
import { computed, signal } from "@preact/signals";
import type { BenchmarkResult, KernelTime, LoadProgress, Model, SelfTestRow } from "../runtime/index";
import { browserName } from "./browser";
import { loadModel, source } from "./model";
import { type BenchRow, benchRow, type Environment } from "./report";
import { defaultPlan, formatScenario, parseScenarios } from "./scenario";

declare const BUILD_COMMIT: string;

/** Empty: what suits the adapter. */
export const scenarios = signal("");
export const repetitions = signal<number | undefined>(undefined);
export const warmup = signal<number | undefined>(undefined);

export const rows = signal<BenchRow[]>([]);
/** What the rows were made from, for the charts. */
export const results = signal<BenchmarkResult[]>([]);
export const kernelRows = signal<SelfTestRow[]>([]);
/** Of one decoded token. */
export const kernelTimes = signal<KernelTime[]>([]);
/** Tokens in the cache of that token. */
export const PROFILE_DEPTH = 127;
/** GB/s that the adapter copies; undefined until it was measured, or where it cannot be. */
export const copied = signal<number | undefined>(undefined);
/** What goes on now, or how the last run ended; read out by screen readers. */
export const status = signal("");
export const failure = signal<{ code: string; message: string } | undefined>(undefined);

const running = signal<AbortController | undefined>(undefined);
export const busy = computed(() => running.value !== undefined);
export const stop = (): void => running.value?.abort();

/** Runs every scenario and adds a row for each as it comes. */
export const runScenarios = (): Promise<void> =>
  exclusively(async (signal) => {
    rows.value = [];
    results.value = [];
    const model = await openModel(signal);
    const { isFallback } = model.info.gpu;
    await measureCopies(model, signal);
    const plan = defaultPlan(isFallback);
    const counts = { repetitions: repetitions.value ?? plan.repetitions, warmup: warmup.value ?? plan.warmup };
    for (const scenario of parseScenarios(scenarios.value.trim() || plan.scenarios)) {
      const name = formatScenario(scenario);
      const onProgress = ({ run, runs }: { run: number; runs: number }) => {
        status.value = `${name}: ${run} of ${runs} runs`;
      };
      onProgress({ run: 0, runs: counts.repetitions + counts.warmup });
      const result = await model.benchmark({ ...scenario, ...counts, onProgress, signal });
      results.value = [...results.value, result];
      rows.value = [...rows.value, benchRow(result, environment(model))];
    }
    status.value = "Done.";
  });

/** Tries every kernel. */
export const checkKernels = (): Promise<void> =>
  exclusively(async (signal) => {
    kernelRows.value = [];
    const model = await openModel(signal);
    await measureCopies(model, signal);
    status.value = "Checking kernels";
    await model.selfTest({
      signal,
      onRow: (row) => {
        kernelRows.value = [...kernelRows.value, row];
        status.value = `Checking kernels: ${kernelRows.value.length} done`;
      },
    });
    const wrong = kernelRows.value.filter(({ ok }) => !ok).length;
    status.value = wrong === 0 ? `All ${kernelRows.value.length} checks passed.` : `${wrong} checks failed.`;
  });

/** Times each kernel of a token. */
export const timeKernels = (): Promise<void> =>
  exclusively(async (signal) => {
    kernelTimes.value = [];
    const model = await openModel(signal);
    await measureCopies(model, signal);
    status.value = "Timing kernels";
    await model.profile({
      depth: PROFILE_DEPTH,
      signal,
      onRow: (row) => {
        kernelTimes.value = [...kernelTimes.value, row];
        status.value = `Timing kernels: ${kernelTimes.value.length} done`;
      },
    });
    status.value = "Done.";
  });

/** One thing at a time on the device; what goes wrong is shown, a stop is no failure. */
export async function exclusively(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
  if (running.value) return;
  const abort = new AbortController();
  running.value = abort;
  failure.value = undefined;
  try {
    await task(abort.signal);
  } catch (error) {
    status.value = abort.signal.aborted ? "Stopped." : "";
    if (!abort.signal.aborted) failure.value = toFailure(error);
  } finally {
    running.value = undefined;
  }
}

function toFailure(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: "INTERNAL", message: String(error) };
  return { code: "code" in error && typeof error.code === "string" ? error.code : error.name, message: error.message };
}

const PHASES: Record<LoadProgress["phase"], string> = {
  read: "Reading the checkpoint",
  palettize: "Palettizing",
  download: "Fetching the weights",
  upload: "Moving the weights to the GPU",
  compile: "Compiling the kernels",
  ready: "Model ready",
};

/** Says in `status` how far a load is, behind `before`. */
export const showLoad =
  (before = "") =>
  ({ phase, loaded, total }: LoadProgress): void => {
    status.value = `${before}${PHASES[phase]}${total ? `: ${Math.round((100 * loaded) / total)} %` : ""}`;
  };

export function openModel(signal: AbortSignal): Promise<Model> {
  if (source.value === "") throw new Error("Name a model first: its URL or its hub id.");
  return loadModel(showLoad(), signal);
}

async function measureCopies(model: Model, signal: AbortSignal): Promise<void> {
  status.value = "Measuring what this adapter copies";
  copied.value = await model.copyBandwidth({ signal });
}

function environment({ info }: Model): Environment {
  const { vendor, architecture, description, isFallback } = info.gpu;
  const gpu = [vendor, architecture, description].filter(Boolean).join(" ") || "unnamed GPU";
  return {
    model: info.name,
    gpu,
    software: isFallback,
    browser: browserName(navigator.userAgent),
    ...(BUILD_COMMIT && { commit: BUILD_COMMIT }),
    date: new Date().toISOString(),
    ...(copied.value && { copyGigabytesPerSecond: copied.value }),
    kernels: info.kernels,
  };
}
