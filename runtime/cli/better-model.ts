/** Makes the better sample model while the playground is served: in a process of its own, which everything else comes before. */
import { type ChildProcess, spawn } from "node:child_process";
import os from "node:os";
import path from "node:path";
import { type ProgressMessage, SEND_PROGRESS } from "./progress";
import { BETTER, hasRecipe, isWhole, MODELS, QUICK } from "./sample";
import type { BetterModel } from "./static-server";

export interface BetterModelInTheMaking extends BetterModel {
  /** Ends the work; what is half made is cleared away. */
  stop(): void;
}

/** Starts where there is something to make. What it is given to run is this command line itself. */
export async function makeBetterModel(commandLine = process.argv[1]): Promise<BetterModelInTheMaking> {
  const model: BetterModelInTheMaking = { name: BETTER, than: QUICK, making: () => undefined, stop() {} };
  const root = process.cwd();
  if (!hasRecipe(root) || (await isWhole(path.join(root, MODELS, BETTER)))) return model;

  const env = { ...process.env, ...SEND_PROGRESS };
  const child = spawn(process.execPath, [commandLine, "sample"], { env, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  yieldToOthers(child);
  let share: number | undefined = 0;
  let printed = 0;
  child.on("message", (message) => {
    const { done, total } = message as ProgressMessage;
    share = done / total;
    const percent = 10 * Math.floor(10 * share);
    if (percent > printed) console.log(`The better model: ${percent} %`);
    printed = percent;
  });
  child.on("error", (error) => console.error(`The better model could not be started: ${error.message}`));
  child.on("exit", (code) => {
    share = undefined;
    if (code === 0) console.log("The better model is ready: the playground offers it.");
    else if (!child.killed) console.error("The better model was not made; npm run model goes on with it.");
  });
  return { ...model, making: () => share, stop: () => child.kill() };
}

function yieldToOthers({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) os.setPriority(pid, os.constants.priority.PRIORITY_LOW);
  } catch {
    // It has ended already, or the system allows no change.
  }
}
