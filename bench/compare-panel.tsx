import { computed, signal } from "@preact/signals";
import { compareRows, differences } from "./compare";
import { type BenchRow, digits, headline, parseRows } from "./report";
import { rows } from "./runs";
import { ScrollTable } from "./scroll-table";

const COLUMNS = ["scenario", "measure", "before", "after", "ratio"].map((title) => ({ title }));

/** A saved run: its text as pasted, opened, or nothing yet. */
const savedText = signal("");
const openedText = signal("");

interface Read {
  rows?: BenchRow[];
  problem?: string;
}

function read(text: string): Read {
  if (text.trim() === "") return {};
  try {
    return { rows: parseRows(text) };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

const saved = computed(() => read(savedText.value));
/** What stands on the other side: a second saved run, else what was measured on this page. */
const other = computed<Read>(() => (openedText.value.trim() === "" ? { rows: rows.value } : read(openedText.value)));

export function ComparePanel() {
  return (
    <details class="panel" open={savedText.value !== ""}>
      <summary>Compare two runs</summary>
      <Saved label="Before: JSON of a saved run" text={savedText} problem={saved.value.problem} />
      <Saved label="After: JSON of another run, or empty for the one above" text={openedText} problem={other.value.problem} />
      <Ratios />
    </details>
  );
}

function Saved({ label, text, problem }: { label: string; text: typeof savedText; problem?: string }) {
  return (
    <div class="saved">
      <label>
        {label}
        <textarea
          rows={3}
          spellcheck={false}
          value={text}
          aria-invalid={problem !== undefined}
          onInput={({ currentTarget }) => {
            text.value = currentTarget.value;
          }}
        />
      </label>
      <label class="file">
        or a file
        <input
          type="file"
          accept="application/json,.json"
          onChange={async ({ currentTarget }) => {
            text.value = (await currentTarget.files?.[0]?.text()) ?? "";
          }}
        />
      </label>
      {problem && (
        <p class="failure" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

function Ratios() {
  const [before, after] = [saved.value.rows, other.value.rows];
  if (!before?.length || !after?.length) return null;
  const compared = compareRows(before, after);
  const different = differences(before[0], after[0]);
  if (compared.length === 0) return <p>The two runs have no scenario in common.</p>;
  return (
    <>
      <p class="small">
        Before: {headline(before[0])}. After: {headline(after[0])}. A ratio above 1 means that the second is faster.
        {different.length > 0 && ` Not only the code differs: ${different.join("; ")}.`}
      </p>
      <ScrollTable label="Comparison" testId="comparison" columns={COLUMNS}>
        {compared.map(({ scenario, measure, before, after, ratio }) => (
          <tr key={scenario + measure}>
            <th scope="row">{scenario}</th>
            <td>{measure}</td>
            <td>{digits(before)}</td>
            <td>{digits(after)}</td>
            <td class={ratio >= 1 ? "faster" : "slower"}>{digits(ratio)} ×</td>
          </tr>
        ))}
      </ScrollTable>
    </>
  );
}
