import type { Signal } from "@preact/signals";
import { listed } from "./model";
import { busy } from "./runs";

/** Names a model: typed, or chosen among those that the server lists. */
export function ModelField({ label, list, value }: { label: string; list: string; value: Signal<string> }) {
  return (
    <label>
      {label}
      <input
        type="text"
        list={list}
        autocomplete="off"
        spellcheck={false}
        disabled={busy}
        value={value}
        onInput={({ currentTarget }) => {
          value.value = currentTarget.value.trim();
        }}
      />
      <datalist id={list}>
        {listed.value.map(({ name, url }) => (
          <option key={url} value={url}>
            {name}
          </option>
        ))}
      </datalist>
    </label>
  );
}
