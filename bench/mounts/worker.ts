// One program of the mounts bench: `worker.js PROGRAM PARAMETERS`, started by part.ts, which gets its violations and its
// result as messages. `stop` as a message ends its loops.

import { appendsProgram, verifyAppendsProgram } from "./appends.ts";
import { killedLoadProgram, verifyKilledProgram } from "./killed.ts";
import { listProgram, namesProgram } from "./names.ts";
import { fillProgram, recordsProgram } from "./records.ts";
import { checkStoppedProgram, holdProgram, stoppedLoadProgram, takeOverProgram } from "./stopped.ts";
import { Work } from "./work.ts";

const PROGRAMS = {
  names: namesProgram,
  list: listProgram,
  fill: fillProgram,
  records: recordsProgram,
  appends: appendsProgram,
  "verify appends": verifyAppendsProgram,
  "load of the stopped mount": stoppedLoadProgram,
  hold: holdProgram,
  "take over": takeOverProgram,
  "check after the stop": checkStoppedProgram,
  "load of the killed mount": killedLoadProgram,
  "check after the kill": verifyKilledProgram,
};

export type ProgramName = keyof typeof PROGRAMS;

// Imported by part.ts for its type only: this runs in the worker.
const [, , name, parameters] = process.argv;
const work = new Work((violation) => process.send!({ violation }));
process.on("message", () => (work.ended = true));
const program = PROGRAMS[name as ProgramName] as (parameters: unknown, work: Work) => Promise<object>;
const result = await program(JSON.parse(parameters), work);
process.send!({ result: { ...result, work: work.report } });
