import type { Signal } from "@preact/signals";
import { useId } from "preact/hooks";
import { maxTokens, systemPrompt, temperature, topK, topP } from "./conversation";

export function Settings() {
  return (
    <details class="panel">
      <summary>System prompt and sampling</summary>
      <label>
        System prompt <span class="small">(used from the next new chat on)</span>
        <textarea
          rows={3}
          placeholder="The model's own"
          value={systemPrompt}
          onInput={(event) => {
            systemPrompt.value = event.currentTarget.value;
          }}
        />
      </label>
      <div class="fields">
        <NumberField
          label="Temperature"
          note="0 always takes the likeliest token"
          value={temperature}
          min={0}
          max={2}
          step={0.1}
        />
        <NumberField label="Top-k" note="0 keeps all tokens" value={topK} min={0} max={1000} step={1} />
        <NumberField label="Top-p" note="1 keeps all tokens" value={topP} min={0.05} max={1} step={0.05} />
        <NumberField label="Max tokens" note="of one reply" value={maxTokens} min={1} max={4096} step={1} />
      </div>
    </details>
  );
}

interface NumberFieldProps {
  label: string;
  note: string;
  value: Signal<number>;
  min: number;
  max: number;
  step: number;
}

function NumberField({ label, note, value, ...bounds }: NumberFieldProps) {
  const id = useId();
  return (
    <div>
      <label for={id}>{label}</label>
      <input
        id={id}
        type="number"
        aria-describedby={`${id}-note`}
        inputMode={bounds.step === 1 ? "numeric" : "decimal"}
        value={value}
        {...bounds}
        onChange={({ currentTarget: input }) => {
          if (input.validity.valid && !Number.isNaN(input.valueAsNumber)) value.value = input.valueAsNumber;
          else input.value = String(value.value);
        }}
      />
      <span id={`${id}-note`} class="small">
        {note}
      </span>
    </div>
  );
}
