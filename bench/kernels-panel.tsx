import type { SelfTestRow } from "../runtime/index";
import { digits } from "./report";
import { busy, checkKernels, kernelRows } from "./runs";
import { ScrollTable } from "./scroll-table";

const COLUMNS = ["kernel", "case", "variant", "error", "allowed", "ms", "outcome"].map((title) => ({ title }));

export function KernelsPanel() {
  return (
    <section class="panel" aria-labelledby="kernels-title">
      <h2 id="kernels-title">Kernels against their twins</h2>
      <p class="small">
        Every kernel computes a few hard cases on your GPU, in each variant that it can run, and is compared with plain loops on
        the CPU. The error is the normalised mean square; the time is that of one dispatch of a small case.
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

function Row({ kernel, case: name, variant, nmse, gate, ok, ms, error }: SelfTestRow) {
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
      <td>{digits(ms)}</td>
      <td>{ok ? "right" : "WRONG"}</td>
    </tr>
  );
}
