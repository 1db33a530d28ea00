import { useSignal } from "@preact/signals";
import { status } from "./runs";

interface ExportProps {
  label: string;
  text: () => string;
}

export function CopyButton({ label, text }: ExportProps) {
  const copied = useSignal(false);
  return (
    <button
      type="button"
      class="quiet"
      onClick={async () => {
        await navigator.clipboard.writeText(text());
        copied.value = true;
        status.value = "Copied.";
        setTimeout(() => {
          copied.value = false;
        }, 2000);
      }}
    >
      {copied.value ? "Copied" : label}
    </button>
  );
}

export function SaveButton({ label, text, name }: ExportProps & { name: string }) {
  return (
    <button
      type="button"
      class="quiet"
      onClick={() => {
        const url = URL.createObjectURL(new Blob([text()], { type: "application/json" }));
        Object.assign(document.createElement("a"), { href: url, download: name }).click();
        URL.revokeObjectURL(url);
      }}
    >
      {label}
    </button>
  );
}
