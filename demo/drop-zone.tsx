import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { load, loadFiles } from "./models";

const dragging = signal(false);

/** Takes a checkpoint of the visitor's own: dropped anywhere on the page, or chosen here. */
export function DropZone() {
  useDrops();
  const busy = load.value.kind === "loading";
  return (
    <label class={`drop-zone${dragging.value ? " dragging" : ""}`} aria-disabled={busy}>
      <strong>Use a model of your own</strong>
      <span id="drop-note" class="small">
        Drop a GGUF file or a folder with safetensors here, or choose files. It is palettized on this device, which takes minutes,
        and kept for the next visit.
      </span>
      <input
        type="file"
        class="visually-hidden"
        aria-describedby="drop-note"
        multiple
        accept=".gguf,.safetensors,.json,.jinja"
        disabled={busy}
        onChange={({ currentTarget }) => {
          const files = [...(currentTarget.files ?? [])];
          // So that the same file can be chosen again.
          currentTarget.value = "";
          if (files.length > 0) loadFiles(files);
        }}
      />
    </label>
  );
}

/** The whole page takes drops: a file that misses the zone must not make the browser leave the chat for it. */
function useDrops(): void {
  useEffect(() => {
    const over = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      const busy = load.value.kind === "loading";
      event.dataTransfer.dropEffect = busy ? "none" : "copy";
      dragging.value = !busy;
    };
    const leave = (event: DragEvent) => {
      // Without a target that it goes to, the pointer has left the page.
      if (!event.relatedTarget) dragging.value = false;
    };
    const drop = async (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      dragging.value = false;
      await loadFiles(await droppedFiles(event.dataTransfer));
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, []);
}

/** The files themselves, or those in one folder. What is dropped can be asked for only until the event is over. */
async function droppedFiles({ items, files }: DataTransfer): Promise<File[]> {
  const dropped = [...files];
  const entry = items.length === 1 ? items[0].webkitGetAsEntry() : null;
  return entry?.isDirectory ? filesIn(entry as FileSystemDirectoryEntry) : dropped;
}

async function filesIn(directory: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = directory.createReader();
  const entries: FileSystemEntry[] = [];
  // Browsers give a hundred or so at a time, and none at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    entries.push(...some);
  }
  const files = entries.filter((entry): entry is FileSystemFileEntry => entry.isFile);
  return Promise.all(files.map((entry) => new Promise<File>((resolve, reject) => entry.file(resolve, reject))));
}
