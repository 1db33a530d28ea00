/** Debian's packages as a source of files: fetched and unpacked into a folder of ours, never installed. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

/**
 * Unpacks packages, and what this system lacks of their dependencies, with lists of its own, so that the system's packages
 * and sources stay as they are. For a Debian on x64, as root: apt-get downloads for nobody else.
 * @param {string} folder Emptied first; afterwards it holds what was in the packages.
 * @param {string[]} packages
 * @param {{ backports?: boolean, onStart?: () => void }} [options] Whether the release's backports go first; called once it
 *   is known that this may work.
 * @returns {boolean} Whether it did.
 */
export function unpackFromDebian(folder, packages, { backports = false, onStart = () => {} } = {}) {
  const release = fs.existsSync("/etc/os-release") ? fs.readFileSync("/etc/os-release", "utf8") : "";
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (!/^ID=debian$/m.test(release) || process.arch !== "x64" || process.getuid?.() !== 0 || !codename) return false;
  const known = run("apt-get", ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]).split("\n");
  const mirror = known.find((line) => line.endsWith(` ${codename}`))?.split(" ", 1)[0];
  if (!mirror) return false;
  onStart();

  const work = path.join(folder, ".work");
  const archives = path.join(work, "archives");
  fs.rmSync(folder, { recursive: true, force: true });
  for (const name of ["lists/partial", "archives/partial"]) fs.mkdirSync(path.join(work, name), { recursive: true });
  // The release itself, and what its updates and its security team have added since.
  const suites = new Set(known.filter((line) => line.split(" ")[1]?.startsWith(codename)));
  if (backports) suites.add(`${mirror} ${codename}-backports`);
  const signedBy = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
  const sources = path.join(work, "sources.list");
  fs.writeFileSync(sources, [...suites].map((suite) => `deb ${signedBy} ${suite} main\n`).join(""));
  const apt = [
    `Dir::Etc::sourcelist=${sources}`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::lists=${path.join(work, "lists")}`,
    `Dir::Cache=${work}`,
  ].flatMap((option) => ["-o", option]);
  try {
    run("apt-get", [...apt, "update"]);
    const target = backports ? ["-t", `${codename}-backports`] : [];
    run("apt-get", [...apt, ...target, "install", "-y", "--download-only", "--no-install-recommends", ...packages]);
    const debs = fs.readdirSync(archives).filter((name) => name.endsWith(".deb"));
    for (const name of debs) run("dpkg", ["--extract", path.join(archives, name), folder]);
    return true;
  } catch {
    return false;
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/**
 * @param {string} program
 * @param {string[]} args
 * @returns {string} What it printed.
 */
function run(program, args) {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 5 * 60_000 });
}
