import { canEvaluate, chosen, comparedWith, evaluate, evaluations, ownText, TEXTS, tokens } from "./evaluation";
import { SaveButton } from "./export-buttons";
import { ModelField } from "./model-field";
import { percent } from "./report";
import { busy, stop } from "./runs";
import { ScrollTable } from "./scroll-table";

const COLUMNS = ["model", "bits", "text", "tokens", "perplexity", "the other's", "top-1 agreement", "KL, nats"].map((title) => ({
  title,
}));

export function EvaluationPanel() {
  return (
    <section class="panel" aria-labelledby="evaluation-title">
      <h2 id="evaluation-title">How well it predicts</h2>
      <p class="small">
        Perplexity of a text, in windows of 512 tokens. Name another model, such as the one that this was made of, to see how
        often both find the same token likeliest and how far their predictions lie apart.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          evaluate();
        }}
      >
        <div class="fields">
          <label>
            Text
            <select
              disabled={busy}
              value={chosen}
              onChange={({ currentTarget }) => {
                chosen.value = currentTarget.value as typeof chosen.value;
              }}
            >
              {TEXTS.map(({ id, name }) => (
                <option key={id} value={id}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label>
            Tokens at most
            <input
              type="number"
              min={2}
              step={1}
              required
              disabled={busy}
              value={tokens}
              onInput={({ currentTarget }) => {
                tokens.value = currentTarget.valueAsNumber;
              }}
            />
          </label>
        </div>
        {chosen.value === "" && (
          <label>
            Your text
            <textarea
              rows={5}
              disabled={busy}
              value={ownText}
              onInput={({ currentTarget }) => {
                ownText.value = currentTarget.value;
              }}
            />
          </label>
        )}
        <ModelField label="Compare with: URL or hub id of another model, or nothing" list="others" value={comparedWith} />
        <div class="row">
          <button type="submit" disabled={busy.value || !canEvaluate()}>
            Score
          </button>
          {busy.value && (
            <button type="button" class="quiet" onClick={stop}>
              Stop
            </button>
          )}
        </div>
      </form>
      {evaluations.value.length > 0 && <Scores />}
    </section>
  );
}

function Scores() {
  return (
    <>
      <ScrollTable label="Scores" testId="scores" columns={COLUMNS}>
        {evaluations.value.map(({ model, averageBits, text, scored, perplexity, source, date }) => (
          <tr key={date}>
            <th scope="row">{model}</th>
            <td>{averageBits.toFixed(2)}</td>
            <td>{text}</td>
            <td>{scored}</td>
            <td>{perplexity.toFixed(2)}</td>
            <td>{source ? source.perplexity.toFixed(2) : "–"}</td>
            <td>{percent(source?.topAgreement)}</td>
            <td>{source ? source.kl.toFixed(4) : "–"}</td>
          </tr>
        ))}
      </ScrollTable>
      <div class="row">
        <SaveButton label="Save as JSON" name="ochre-evaluation.json" text={() => JSON.stringify(evaluations.value, null, 2)} />
      </div>
    </>
  );
}
