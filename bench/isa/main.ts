/** `npm run isa`: the machine code of a decode step on AMD chips, without one. See README.md. */
import fs from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ensureRadv } from "../../test/setup/lavapipe.mjs";
import { buildNullDevice, compileFor, FAMILIES, type Radv } from "./driver";
import { measure, mesaVersion, type Row } from "./measure";
import { baselineText, makeBaseline, markdown } from "./report";

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

export interface Measured {
  /** The driver's version. */
  mesa: string;
  rows: Row[];
}

/** Compiles a decode step for every family and measures it. @throws Error where the compiler or the driver fails. */
export async function measureAll(radv: Radv): Promise<Measured> {
  const manifest = buildNullDevice();
  const rows: Row[] = [];
  let mesa = "";
  for (const family of FAMILIES) {
    const output = await compileFor(family, radv, manifest);
    mesa = mesaVersion(output);
    rows.push(...measure(family, output));
  }
  return { mesa, rows };
}

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: "boolean" }, update: { type: "boolean" } } });
  const radv = ensureRadv((message) => console.error(message));
  if (!radv) {
    console.error(
      "[isa] Mesa's driver for AMD is needed (libvulkan_radeon.so, of Mesa 25) but this machine has none, and only on Debian\n" +
        "(x86-64, as root) can this fetch it by itself. Install your system's package: mesa-vulkan-drivers and libvulkan1 on\n" +
        "Debian and Ubuntu, vulkan-radeon on Arch, mesa-vulkan-drivers on Fedora. A Radeon is not needed.",
    );
    process.exitCode = 1;
    return;
  }
  const { mesa, rows } = await measureAll(radv);
  if (values.json) console.log(JSON.stringify({ mesa, rows }, null, 1));
  else console.log(`Mesa ${mesa}\n\n${markdown(rows)}`);
  if (!values.update) return;
  fs.writeFileSync(here("baseline.json"), baselineText(makeBaseline(mesa, rows)));
  const readme = fs.readFileSync(here("README.md"), "utf8");
  const table = `<!-- table -->\nMesa ${mesa}\n\n${markdown(rows)}\n<!-- /table -->`;
  fs.writeFileSync(
    here("README.md"),
    readme.replace(/<!-- table -->[\s\S]*<!-- \/table -->/, () => table),
  );
}
