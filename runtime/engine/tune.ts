/**
 * Which kernels are fastest here is found out on the user's own device with the model's own weights: a fraction of a second at
 * the first load, remembered until the browser, the GPU, the model's shape or a shader changes. There are two heats: first what
 * multiplies (halves, floats, int8), then how many threads share a row. A choice may win only if its kernels give what their
 * twins give, for drivers miscompile. What cannot be decided in time stays as it was.
 */
import type { KernelChoice } from "../../kernels/define-kernel";
import { checkKernels } from "./self-test/self-test";
import type { SequenceModel } from "./step-programs";
import { Trial } from "./trial";

/** What is known of one adapter and one shape of model. */
export interface ChoiceRecord {
  /** SHA-256 of everything that the choice depends on; under another one the record is worth nothing. */
  fingerprint: string;
  /** Tunings begun, counted before they begin: one that takes the device or the tab with it is not begun for ever. */
  attempts: number;
  /** Absent until a tuning was decided. */
  choice?: KernelChoice;
}

/** Where choices outlive the page. Where it rejects, nothing is remembered. */
export interface ChoiceMemory {
  get(key: string): Promise<ChoiceRecord | undefined>;
  put(key: string, record: ChoiceRecord): Promise<void>;
}

export interface TuneOptions {
  memory?: ChoiceMemory;
  /** For everything: compiling, timing, checking. Overrun by one sample or one check at most. Default 400. */
  budgetMs?: number;
}

export interface TriedChoice {
  choice: KernelChoice;
  /** Of one token's layers, with the head where it fitted in: the median. Absent where there was no time. */
  msPerToken?: number;
  /** Whether its kernels gave what their twins give; absent where they were not asked. */
  ok?: boolean;
  /** Why it was discarded. */
  error?: string;
}

export interface KernelReport {
  choice: KernelChoice;
  /** By what the adapter says of itself, by measurement just now, or by an earlier one. */
  source: "prior" | "tuned" | "stored";
  /** What measuring took, also where it decided nothing. */
  tunedMs?: number;
  candidates?: TriedChoice[];
}

const BUDGET_MS = 400;
/** Share of a heat's time for timing; checks have the rest. */
const TIMING_SHARE = 0.7;
const ROUNDS = 5;
const FEWEST_ROUNDS = 3;
/** Tells 5 % apart even by a clock of half a millisecond. */
const SAMPLE_MS = 10;
/** Encoding costs the CPU too: no sample has more. */
const MOST_DISPATCHES = 512;
const LEAST_GAIN = 0.05;
const MOST_ATTEMPTS = 3;

interface ChooseOptions extends TuneOptions {
  /** Fields of the choice that must stay as they are. */
  forced?: Partial<KernelChoice>;
  signal?: AbortSignal;
}

/**
 * Has the device record the fastest right kernels from now on. Software adapters, where one token takes longer than all the time
 * there is, and plain weights, whose kernels leave no choice, keep what they have.
 * @throws OchreError GPU_LOST, GPU_MEMORY; the signal's reason on abort.
 */
export async function chooseKernels(model: SequenceModel, options: ChooseOptions = {}): Promise<KernelReport> {
  const { gpu, config } = model;
  const prior = gpu.choice;
  let report: KernelReport = { choice: prior, source: "prior" };
  if (prior.software || !config.quantization) return report;
  const tuner = new Tuner(model, options);
  try {
    report = await tuner.choose(prior);
    return report;
  } finally {
    tuner.release();
    gpu.choose(report.choice);
  }
}

class Tuner {
  private readonly model: SequenceModel;
  private readonly options: ChooseOptions;
  private readonly made: Trial[] = [];

  constructor(model: SequenceModel, options: ChooseOptions) {
    this.model = model;
    this.options = options;
  }

  async choose(prior: KernelChoice): Promise<KernelReport> {
    const { memory, budgetMs = BUDGET_MS } = this.options;
    const startedAt = performance.now();
    const kinds = await this.trials(this.kinds(prior));
    const laneCounts = await this.trials(this.laneCounts(prior));
    if (kinds.length === 1 && laneCounts.length === 1) return { choice: prior, source: "prior" };

    const { vendor, architecture, description } = this.model.gpu.info;
    const { L, D, H, G, d, F, V } = this.model.config;
    const key = [vendor, architecture, description, L, D, H, G, d, F, V].join("|");
    const fingerprint = await this.fingerprint([...kinds, ...laneCounts]);
    const known = await memory?.get(key).catch(() => undefined);
    const before = known?.fingerprint === fingerprint ? known : undefined;
    if (before?.choice) return { choice: before.choice, source: "stored" };
    const attempts = (before?.attempts ?? 0) + 1;
    if (attempts > MOST_ATTEMPTS) return { choice: prior, source: "prior" };
    await memory?.put(key, { fingerprint, attempts }).catch(() => {});

    const kind = await this.heat(kinds, startedAt + budgetMs / 2);
    const winner = kind.winner.choice;
    const onWinner = kind.winner === kinds[0] ? laneCounts : await this.trials(this.laneCounts(winner));
    const lanes = await this.heat(onWinner, startedAt + budgetMs);
    const { choice } = lanes.winner;
    const decided = kind.decided && lanes.decided;
    if (decided) await memory?.put(key, { fingerprint, attempts, choice }).catch(() => {});
    return {
      choice,
      source: decided || choice !== prior ? "tuned" : "prior",
      tunedMs: performance.now() - startedAt,
      candidates: [...kinds, ...onWinner.slice(1)].map(({ choice, msPerToken, ok, error }) => ({
        choice,
        msPerToken,
        ok,
        error,
      })),
    };
  }

  release(): void {
    for (const trial of this.made) trial.release();
  }

  /** What may multiply, the prior's first. */
  private kinds(prior: KernelChoice): KernelChoice[] {
    const { forced = {} } = this.options;
    const others = [{ int8: true }, { int8: false, f32Pairs: false }, { int8: false, f32Pairs: true }]
      .map((kind) => ({ ...prior, ...kind, ...forced }))
      .filter(({ int8 }) => !int8 || this.model.gpu.packedDot);
    return [prior, ...others];
  }

  /** How many threads may share a row, the given choice's own first. */
  private laneCounts(choice: KernelChoice): KernelChoice[] {
    if (this.options.forced?.lanes !== undefined) return [choice];
    return [choice, ...[8, 16, 32].map((lanes) => ({ ...choice, lanes }))];
  }

  /** One trial for each choice that dispatches something else than those before it. */
  private async trials(choices: readonly KernelChoice[]): Promise<Trial[]> {
    const made = await this.model.gpu.allocating(() => choices.map((choice) => new Trial(this.model, choice)));
    this.made.push(...made);
    const seen = new Set<string>();
    return made.filter(({ dispatches }) => {
      const key = [...dispatches.keys()].join();
      return !seen.has(key) && seen.add(key);
    });
  }

  /** Of the browser, the device's features, and everything that the trials would run. */
  private async fingerprint(trials: readonly Trial[]): Promise<string> {
    const { info, tier } = this.model.gpu;
    const { forced } = this.options;
    const runs = trials.map(({ dispatches }) => [...dispatches].map(([key, { shader }]) => [key, shader]));
    const browser = globalThis.navigator?.userAgent;
    const text = JSON.stringify([browser, info.features, tier.subgroupSize, tier.workgroupBytes, forced, runs]);
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** The fastest right trial, the first having the benefit of the doubt; not `decided` where time ran out. */
  private async heat(trials: readonly Trial[], until: number): Promise<{ winner: Trial; decided: boolean }> {
    const [incumbent, ...challengers] = trials;
    if (challengers.length === 0) return { winner: incumbent, decided: true };
    const now = performance.now();
    const timed = await this.timeInTurn(trials, now + TIMING_SHARE * (until - now));
    if (!timed) return { winner: incumbent, decided: false };
    const usable = challengers.filter(({ error }) => error === undefined).sort((a, b) => a.msPerToken! - b.msPerToken!);
    const faster = usable.filter((trial) => incumbent.error !== undefined || trial.beats(incumbent, LEAST_GAIN));
    const contested = new Set(
      challengers.flatMap((trial) => [...differences(trial, incumbent), ...differences(incumbent, trial)]),
    );
    for (const trial of new Set([...faster, incumbent, ...usable])) {
      if (trial.error !== undefined) continue;
      if (!(await this.check(trial, contested, until))) return { winner: incumbent, decided: false };
      if (trial.ok) return { winner: trial, decided: true };
    }
    return { winner: incumbent, decided: false };
  }

  /** Samples of every trial in turn, so that what disturbs one disturbs all. False where there was no time for enough. */
  private async timeInTurn(trials: readonly Trial[], until: number): Promise<boolean> {
    const compiled = Promise.all(trials.map((trial) => trial.compile())).then(() => true);
    if (!(await before(until, compiled))) return false;
    const { L } = this.model.config;
    const passes = await this.calibrate(trials, until);
    let longest = 0;
    for (let round = 0; round <= ROUNDS; round++) {
      for (let i = 0; i < trials.length; i++) {
        const trial = trials[(i + round) % trials.length];
        this.options.signal?.throwIfAborted();
        if (performance.now() + longest > until) return round > FEWEST_ROUNDS;
        const ms = await trial.time(passes);
        if (ms === undefined || round === 0) continue;
        longest = Math.max(longest, ms);
        trial.samples.push((ms * L) / passes);
      }
    }
    return true;
  }

  /** How many layers make a sample: few enough for the time there is, many enough to be seen. */
  private async calibrate(trials: readonly Trial[], until: number): Promise<number> {
    const { L } = this.model.config;
    const sampleMs = Math.min(SAMPLE_MS, (until - performance.now()) / (trials.length * (ROUNDS + 2)));
    const trial = trials.find(({ error }) => error === undefined);
    if (!trial) return 1;
    const most = Math.max(1, Math.floor(MOST_DISPATCHES / trial.layerDispatches));
    let passes = 1;
    await trial.time(passes); // the first run of a pipeline is not like the others
    while (passes < most && performance.now() < until) {
      const ms = await trial.time(passes);
      if (ms === undefined || ms > sampleMs / 2) break;
      passes = Math.min(most, 4 * passes);
    }
    // Whole tokens where one fits: then the head has its due weight.
    return passes > L ? L * Math.floor(passes / L) : passes;
  }

  /** Asks the twins about what the trials do differently. False where time ran out before all had answered. */
  private async check(trial: Trial, contested: ReadonlySet<string>, until: number): Promise<boolean> {
    const own = [...trial.dispatches.values()].map(({ kernel }) => kernel).filter((kernel) => contested.has(kernel));
    for await (const { kernel, case: name, ok, nmse, error } of checkKernels(this.model.gpu, trial.tier, new Set(own))) {
      this.options.signal?.throwIfAborted();
      if (!ok) {
        trial.ok = false;
        trial.error = `[${kernel}] ${name}: ${error ?? `an error of ${nmse?.toExponential(1)} against its twin`}`;
        return true;
      }
      if (performance.now() > until) return false;
    }
    trial.ok = true;
    return true;
  }
}

/** Kernels that `trial` dispatches otherwise than `other`. */
const differences = (trial: Trial, other: Trial): string[] =>
  [...trial.dispatches].filter(([key]) => !other.dispatches.has(key)).map(([, { kernel }]) => kernel);

/** What `promise` gives, or undefined once the clock shows `until`. */
async function before<T>(until: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, until - performance.now()));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
