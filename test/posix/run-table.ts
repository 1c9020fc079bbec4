// Runs the case table on any directory: node dist/test/posix/run-table.js DIR [--filter TEXT] [--offers a,b] [--memory]
// Prints what failed and the counts; exits 1 on a failure.
import { parseArgs } from "node:util";
import { directoryTarget } from "./directory.ts";
import { missing, runCase } from "./run-case.ts";
import { allCases, packageRoot } from "./table.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    filter: { type: "string", default: "" },
    offers: { type: "string", default: "" },
    verbose: { type: "boolean", default: false },
  },
});
if (positionals.length !== 1) {
  console.error("usage: run-table.js DIR [--filter TEXT] [--offers collapse,large-xattr,...] [--verbose]");
  process.exit(2);
}
const target = directoryTarget(packageRoot(), positionals[0], values.offers.split(",").filter(Boolean));
let [passed, failed, skipped] = [0, 0, 0];
for (const each of allCases()) {
  const name = `${each.group}: ${each.name}`;
  if (!name.includes(values.filter)) continue;
  const lacking = missing(each, target);
  if (lacking.length) {
    skipped++;
    if (values.verbose) console.log(`skipped  ${name} (needs ${lacking.join(", ")})`);
    continue;
  }
  try {
    await runCase(each, target);
    passed++;
    if (values.verbose) console.log(`passed   ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED   ${name}\n         ${(error as Error).message}`);
  }
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed ? 1 : 0);
