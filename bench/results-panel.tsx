import { describeKernels } from "../demo/format";
import { Chart } from "./chart";
import { CopyButton, SaveButton } from "./export-buttons";
import { ratiosOf } from "./ratios";
import { type BenchRow, COLUMNS, digits, headline, range, toJson, toMarkdown } from "./report";
import { results, rows } from "./runs";
import { formatScenario } from "./scenario";
import { ScrollTable } from "./scroll-table";
import { mean } from "./statistics";

export function ResultsPanel() {
  const [first] = rows.value;
  return (
    <section class="panel" aria-labelledby="results-title">
      <h2 id="results-title">Results</h2>
      {first ? <Results first={first} /> : <p class="small">Press Run: each scenario adds a row as soon as it is measured.</p>}
    </section>
  );
}

function Results({ first }: { first: BenchRow }) {
  return (
    <>
      <p class="small" data-testid="headline">
        {headline(first)}.
        {first.copyGigabytesPerSecond !== undefined && ` It copies ${digits(first.copyGigabytesPerSecond)} GB/s.`}
        {first.kernels && ` Kernels: ${describeKernels(first.kernels)}.`}
        {first.software && " A software adapter computes on the CPU: its numbers say nothing about GPUs."}
      </p>
      <Table />
      <Ratios />
      <div class="buttons">
        <CopyButton label="Copy as Markdown" text={() => toMarkdown(rows.value)} />
        <CopyButton label="Copy as JSON" text={() => toJson(rows.value)} />
        <SaveButton label="Save JSON" name={`ochre-bench-${first.date.slice(0, 10)}.json`} text={() => toJson(rows.value)} />
      </div>
      <Charts />
    </>
  );
}

function Table() {
  return (
    <ScrollTable label="Results" testId="results" columns={COLUMNS}>
      {rows.value.map((row) => (
        <tr key={row.scenario + row.date}>
          <th scope="row">{row.scenario}</th>
          {COLUMNS.slice(1).map(({ title, of, spread }) => (
            <td key={title}>
              {of(row)}
              <span class="range">{range(row, spread)}</span>
            </td>
          ))}
        </tr>
      ))}
    </ScrollTable>
  );
}

/** Where the rows hold pairs to compare. */
function Ratios() {
  const ratios = ratiosOf(rows.value);
  if (ratios.length === 0) return null;
  return (
    <ScrollTable label="Ratios" testId="ratios" columns={[{ title: "ratio" }, { title: "mean" }, { title: "range" }]}>
      {ratios.map(({ meaning, value, min, max }) => (
        <tr key={meaning}>
          <th scope="row">{meaning}</th>
          <td>{digits(value)}</td>
          <td>
            {digits(min)}–{digits(max)}
          </td>
        </tr>
      ))}
    </ScrollTable>
  );
}

function Charts() {
  const decoded = results.value.map((result) => ({
    name: formatScenario(result),
    values: result.runs.map((run) => run.decodeTokensPerSecond ?? null),
  }));
  const gaps = results.value.map((result) => ({
    name: formatScenario(result),
    values: Array.from(
      { length: Math.max(0, ...result.runs.map(({ gapsMs }) => gapsMs.length)) },
      (_, token) => mean(result.runs.map(({ gapsMs }) => gapsMs[token]).filter((gap) => gap !== undefined)) ?? null,
    ),
  }));
  return (
    <div class="charts">
      <Chart title="Decode speed" x="repetition" y="tokens/s" series={decoded} />
      <Chart title="Time between tokens, mean of the repetitions" x="token" y="ms" series={gaps} />
    </div>
  );
}
