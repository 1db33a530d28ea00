/** The compiler's entry: a worker apart, for few visitors need it, and with it goes all that compiling holds in memory. */
import { compileFiles } from "./compile-files";
import { serveCompiler } from "./serve";

serveCompiler({ compile: compileFiles });
