import type { SelfTestRow } from "../runtime/index";
import { digits, percent } from "./report";
import { busy, checkKernels, copied, kernelRows } from "./runs";
import { ScrollTable } from "./scroll-table";

const COLUMNS = ["kernel", "case", "variant", "error", "allowed", "outcome", "ms", "GB/s", "of copy"].map((title) => ({ title }));

export function KernelsPanel() {
  return (
    <section class="panel" aria-labelledby="kernels-title">
      <h2 id="kernels-title">Kernels against their twins</h2>
      <p class="small">
        Every kernel computes a few hard cases on your GPU, in each variant that it can run, and is compared with plain loops on
        the CPU. The error is the normalised mean square. The time is that of one dispatch, GB/s what it reads and writes in that
        time, beside what your GPU reaches when it only copies: these cases are small, so they show what a dispatch costs.
      </p>
      <div class="buttons">
        <button type="button" disabled={busy} onClick={() => checkKernels()}>
          Check kernels
        </button>
      </div>
      {kernelRows.value.length > 0 && <Rows />}
    </section>
  );
}

function Rows() {
  return (
    <ScrollTable label="Kernel checks" testId="kernels" columns={COLUMNS}>
      {kernelRows.value.map((row) => (
        <Row key={`${row.kernel} ${row.case} ${row.variant}`} {...row} />
      ))}
    </ScrollTable>
  );
}

function Row({ kernel, case: name, variant, nmse, gate, ok, ms, bytes, error }: SelfTestRow) {
  const gigabytesPerSecond = ms && bytes / 1e6 / ms;
  return (
    <tr class={ok ? "" : "wrong"}>
      <th scope="row">{kernel}</th>
      <td>
        {name}
        {error && <p>{error}</p>}
      </td>
      <td>{variant}</td>
      <td>{nmse === undefined ? "–" : nmse === 0 ? "0" : nmse.toExponential(1)}</td>
      <td>{gate === 0 ? "0" : gate.toExponential(0)}</td>
      <td>{ok ? "right" : "WRONG"}</td>
      <td>{digits(ms)}</td>
      <td>{digits(gigabytesPerSecond)}</td>
      <td>{percent(gigabytesPerSecond && copied.value && gigabytesPerSecond / copied.value)}</td>
    </tr>
  );
}
