/** Name and version of the browser, from its user agent: enough for a table, never for a decision. */
export function browserName(userAgent: string): string {
  const known = [/Firefox\/(\d+)/, /Edg\/(\d+)/, /(?:Headless)?Chrome\/(\d+)/, /Version\/(\d+[.\d]*).*Safari/];
  const names = ["Firefox", "Edge", "Chrome", "Safari"];
  const at = known.findIndex((pattern) => pattern.test(userAgent));
  return at < 0 ? "unknown browser" : `${names[at]} ${known[at].exec(userAgent)?.[1]}`;
}
