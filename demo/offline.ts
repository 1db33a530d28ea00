/** Whether this page needs the network: the browser's opinion of the connection, and the service worker's store of the page. */
import { signal } from "@preact/signals";

export const online = signal(navigator.onLine);
/** The service worker holds every file of the page, so a reload works without a network. */
export const pageStored = signal(false);

addEventListener("online", () => {
  online.value = true;
});
addEventListener("offline", () => {
  online.value = false;
});

/** Has the service worker keep the page. It caches all files before it turns active, so active means stored. */
export async function storePage(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("./sw.js");
    await navigator.serviceWorker.ready;
    pageStored.value = true;
  } catch {
    // Private windows and some policies forbid service workers: the page then simply needs its server for a reload.
  }
}
