// How a serving process ends: a signal asks it to flush and unmount, a second one makes it give up.

/** Asks `stop` once at SIGINT, SIGTERM or SIGHUP; at a further one the process ends with 130 and what was not flushed is lost. */
export function stopOnSignals(stop: () => void): void {
  let asked = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (asked) {
        process.stderr.write("cairn: stopped without waiting; what was not yet flushed is lost\n");
        process.exit(130);
      }
      asked = true;
      process.stderr.write(`cairn: ${signal}: flushing and unmounting (again to give up waiting)\n`);
      stop();
    });
  }
}

/** A line of tracing with its time. */
export function traceToStandardError(text: string): void {
  process.stderr.write(`${new Date().toISOString()} ${text}\n`);
}
