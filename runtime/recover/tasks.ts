/** What recovery gives to threads (runtime/compute/pool.ts), beside what the compiler does. */
import type { Pool } from "../compute/pool";
import { tasks } from "../palettize/tasks";
import { fitLowRank } from "./closed-form";
import type { Terms } from "./low-rank";
import { type Student, type TrainingWindow, type WindowResult, windowDivergence, windowGradient } from "./window";

export interface FitTask {
  /** W - Q(W), [rows, cols]. */
  error: Float32Array;
  /** Of the inputs, [cols, cols]. */
  moments: Float32Array;
  rows: number;
  rank: number;
  seed: number;
}

function fit({ error, moments, rows, rank, seed }: FitTask): Terms {
  const terms = { a: new Float32Array((rank * error.length) / rows), b: new Float32Array(rows * rank) };
  fitLowRank(terms, error, moments, rows, seed);
  return terms;
}

export interface WindowTask {
  student: Student;
  parameters: Float32Array;
  window: TrainingWindow;
}

const gradient = ({ student, parameters, window }: WindowTask): WindowResult => windowGradient(student, parameters, window);

const divergence = ({ student, parameters, window }: WindowTask): number => windowDivergence(student, parameters, window);

export const recoverTasks = { ...tasks, fit, gradient, divergence };
export type RecoverPool = Pool<typeof recoverTasks>;
