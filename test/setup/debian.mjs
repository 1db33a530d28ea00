/** Debian's packages as a source of files: fetched and unpacked into a folder of ours, never installed. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

/**
 * Unpacks packages and what this system lacks of their dependencies, with lists of its own, so that the system's stay as
 * they are. Needs a Debian on x64 and root, for apt-get downloads for nobody else.
 * @param {string} folder Emptied first; holds only what was unpacked afterwards.
 * @param {string[]} packages
 * @param {() => void} onStart Called once it is known that this may work.
 * @returns {boolean} Whether it did.
 */
export function unpackFromDebian(folder, packages, onStart) {
  const release = fs.existsSync("/etc/os-release") ? fs.readFileSync("/etc/os-release", "utf8") : "";
  if (!/^ID=debian$/m.test(release) || process.arch !== "x64" || process.getuid?.() !== 0) return false;
  onStart();
  const work = path.join(folder, ".work");
  fs.rmSync(folder, { recursive: true, force: true });
  for (const name of ["lists/partial", "archives/partial"]) fs.mkdirSync(path.join(work, name), { recursive: true });
  const directories = [`Dir::State::lists=${path.join(work, "lists")}`, `Dir::Cache=${work}`];
  const apt = directories.flatMap((option) => ["-o", option]);
  /** @param {string[]} command */
  const run = ([program, ...args]) => execFileSync(program, args, { cwd: folder, stdio: "ignore", timeout: 5 * 60_000 });
  try {
    run(["apt-get", ...apt, "update"]);
    run(["apt-get", ...apt, "install", "--no-install-recommends", "--download-only", "-y", ...packages]);
    const archives = path.join(work, "archives");
    for (const name of fs.readdirSync(archives)) {
      if (name.endsWith(".deb")) run(["dpkg", "--extract", path.join(archives, name), folder]);
    }
    return true;
  } catch {
    fs.rmSync(folder, { recursive: true, force: true });
    return false;
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}
