/** Progress on stderr: one line that redraws itself on a terminal, elsewhere a line every few seconds. */
const EVERY_MS = 5000;
const BAR = 30;

export interface Progress {
  /** @param note What is being done; shown behind the bar. */
  update(done: number, total: number, note: string): void;
  /** Removes the bar, so that what follows starts on a clean line. */
  clear(): void;
}

/** Environment in which a process, started with a channel, sends these messages instead of drawing. */
export const SEND_PROGRESS = { OCHRE_PROGRESS: "send" };
export interface ProgressMessage {
  done: number;
  total: number;
}

export function makeProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  let last = performance.now();
  let drawn = false;
  return {
    update(done, total, note) {
      if (process.env.OCHRE_PROGRESS === SEND_PROGRESS.OCHRE_PROGRESS) {
        process.send?.({ done, total } satisfies ProgressMessage);
        return;
      }
      const percent = `${Math.floor((100 * done) / total)}`.padStart(3);
      if (stream.isTTY) {
        const filled = Math.round((BAR * done) / total);
        const line = `${"#".repeat(filled)}${".".repeat(BAR - filled)} ${percent} %  ${note}`;
        stream.write(`\r\x1b[K${line.slice(0, (stream.columns ?? 80) - 1)}`);
        drawn = true;
      } else if (performance.now() - last >= EVERY_MS) {
        last = performance.now();
        stream.write(`${percent} %  ${note}\n`);
      }
    },
    clear() {
      if (drawn) stream.write("\r\x1b[K");
      drawn = false;
    },
  };
}
