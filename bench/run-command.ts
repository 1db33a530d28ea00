/**
 * A command line's way from arguments to an exit code: 0; 1 where the run failed; 2 where the arguments make no sense. What went
 * wrong is said on stderr.
 */
export async function runCommand<Options>(readOptions: () => Options, run: (options: Options) => Promise<void>): Promise<number> {
  let options: Options;
  try {
    options = readOptions();
  } catch (error) {
    console.error((error as Error).message);
    return 2;
  }
  try {
    await run(options);
    return 0;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}
