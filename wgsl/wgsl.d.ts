/** A WGSL file as the build's plugin delivers it: comments stripped, imports resolved, one text for each variant. */
declare module "*.wgsl" {
  const variants: Readonly<Record<string, string>>;
  export default variants;
}
