/**
 * A module by its URL on this server: peers are served as their packages are, not bundled.
 * @param {string} url
 */
export const load = (url) => import(url);
