/** The public API. Pages, demo/ and bench/ import this module and nothing else. */
export { ERROR_CODES, type ErrorCode, OchreError } from "./errors";
export type { LoadTimes, Metrics } from "./metrics";
export type { Model } from "./sdk/model";
export { Ochre } from "./sdk/ochre";
export type { Session } from "./sdk/session";
export type { Support } from "./sdk/support";
export type {
  Adapter,
  BenchmarkOptions,
  BenchmarkResult,
  BenchmarkRun,
  BitChange,
  BitChoice,
  EvaluateOptions,
  Evaluation,
  KernelChoice,
  KernelReport,
  KernelTime,
  KvType,
  LoadAdapterOptions,
  LoadOptions,
  LoadProgress,
  Message,
  ModelInfo,
  ModelSource,
  PalettizeChoices,
  PalettizedReport,
  ProfileOptions,
  PromptOptions,
  Role,
  SelfTestOptions,
  SelfTestRow,
  SessionOptions,
  TriedChoice,
} from "./sdk/types";
export type { CachedModel } from "./store/cache";
