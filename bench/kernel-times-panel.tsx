import type { KernelTime } from "../runtime/index";
import { digits, percent } from "./report";
import { busy, copied, kernelTimes, PROFILE_DEPTH, timeKernels } from "./runs";
import { ScrollTable } from "./scroll-table";

const COLUMNS = ["kernel", "weights", "dispatches", "ms", "of all", "MB", "GB/s", "of copy", "GFLOP/s"].map((title) => ({
  title,
}));

export function KernelTimesPanel() {
  return (
    <section class="panel" aria-labelledby="times-title">
      <h2 id="times-title">Where a token's time goes</h2>
      <p class="small">
        Each kernel of one decoded token with {PROFILE_DEPTH} before it, on the model's own weights, timed by itself over all the
        layers that have it. GB/s is what it reads and writes in that time, beside what your GPU reaches when it only copies.
      </p>
      <div class="buttons">
        <button type="button" disabled={busy} onClick={() => timeKernels()}>
          Time kernels
        </button>
      </div>
      {kernelTimes.value.length > 0 && <Rows />}
    </section>
  );
}

function Rows() {
  const total = kernelTimes.value.reduce((sum, { ms }) => sum + ms, 0);
  return (
    <ScrollTable label="Kernel times" testId="kernel-times" columns={COLUMNS}>
      {kernelTimes.value.map((row) => (
        <Row key={`${row.kernel} ${row.weights}`} row={row} total={total} />
      ))}
    </ScrollTable>
  );
}

function Row({ row: { kernel, weights, dispatches, ms, bytes, multiplyAdds }, total }: { row: KernelTime; total: number }) {
  const gigabytesPerSecond = bytes / 1e6 / ms;
  return (
    <tr>
      <th scope="row">{kernel}</th>
      <td>{weights}</td>
      <td>{dispatches}</td>
      <td>{digits(ms)}</td>
      <td>{percent(ms / total)}</td>
      <td>{digits(bytes / 1e6)}</td>
      <td>{digits(gigabytesPerSecond)}</td>
      <td>{percent(copied.value && gigabytesPerSecond / copied.value)}</td>
      <td>{digits((2 * multiplyAdds) / 1e6 / ms)}</td>
    </tr>
  );
}
