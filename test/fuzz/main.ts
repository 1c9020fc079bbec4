// `npm run fuzz -- ...`: see command.ts.

import { fuzz } from "./command.ts";

process.exitCode = await fuzz(process.argv.slice(2));
