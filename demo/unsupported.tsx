/** What a visitor without WebGPU can do about it. No controls: none of them could work. */
export function Unsupported({ reason }: { reason?: string }) {
  return (
    <main class="unsupported" data-testid="unsupported">
      <h2>This browser cannot run the model yet</h2>
      <p role="alert">{reason ?? "WebGPU is missing."}</p>
      <p>Ochre computes on your GPU through WebGPU, which a page can use only over https or on localhost.</p>
      <ul>
        <li>
          <strong>Chrome, Edge:</strong> use version 113 or newer with graphics acceleration on (Settings, System). On Linux also
          turn on <code>chrome://flags/#enable-unsafe-webgpu</code> and <code>#enable-vulkan</code>.
        </li>
        <li>
          <strong>Safari:</strong> use version 26 (macOS, iOS, iPadOS). In version 18 it waits behind Settings, Feature Flags,
          WebGPU.
        </li>
        <li>
          <strong>Firefox:</strong> use version 141 or newer on Windows, 145 on a Mac with Apple silicon. Elsewhere set{" "}
          <code>dom.webgpu.enabled</code> in <code>about:config</code>.
        </li>
      </ul>
    </main>
  );
}
