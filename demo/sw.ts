/**
 * Keeps the page's own files, so that a reload works with the network cut. Model files are none of its business:
 * the SDK keeps those in IndexedDB, and whatever is not listed here goes to the network untouched.
 */
export {};

/** Put in by the build: every file of the page relative to the scope, and a hash of their names and the page's text. */
declare const SHELL_FILES: string[];
declare const SHELL_VERSION: string;

// The project's type library is the window's; these are the few worker shapes that it lacks.
interface LifecycleEvent extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface RequestEvent extends Event {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface ServiceWorkerScope {
  readonly registration: { readonly scope: string };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", listener: (event: LifecycleEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: RequestEvent) => void): void;
}
const worker = self as unknown as ServiceWorkerScope;

const PREFIX = "ochre-page-";
const cacheName = PREFIX + SHELL_VERSION;
const pageUrl = worker.registration.scope;
const shellUrls = new Set(SHELL_FILES.map((file) => new URL(file, pageUrl).href));

worker.addEventListener("install", (event) => event.waitUntil(storeShell()));
worker.addEventListener("activate", (event) => event.waitUntil(dropOldShells()));
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const url = request.url.split(/[?#]/, 1)[0];
  if (url === pageUrl && request.mode === "navigate") event.respondWith(freshPage(request));
  else if (shellUrls.has(url)) event.respondWith(storedFile(request));
});

/** The new version takes over at once: the page below it is either gone or, being fetched fresh, already the new one. */
async function storeShell(): Promise<void> {
  const cache = await caches.open(cacheName);
  await cache.addAll([...shellUrls].map((url) => new Request(url, { cache: "no-cache" })));
  await worker.skipWaiting();
}

async function dropOldShells(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== cacheName).map((name) => caches.delete(name)));
}

/** From the network where there is one, so that an update shows on the next load and not on the one after. */
async function freshPage(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const stored = await caches.match(pageUrl);
    if (stored) return stored;
    throw error;
  }
}

async function storedFile(request: Request): Promise<Response> {
  return (await caches.match(request, { ignoreSearch: true })) ?? fetch(request);
}
