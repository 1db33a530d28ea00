/** A WebAssembly text file as the build's plugin delivers it: assembled, inline. */
declare module "*.wat" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
