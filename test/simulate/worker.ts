// A process that runs the seeds that it is sent, one after another, and sends back what came of each. Nothing of a run
// should be left in its memory; campaign.ts ends it where something is.

import { runSeed, type SeedWork } from "./seeds.ts";

export type WorkerAnswer = { result: Awaited<ReturnType<typeof runSeed>>; residentBytes: number };

process.on("message", (work: SeedWork) => {
  void (async () => {
    const result = await runSeed(work);
    const answer: WorkerAnswer = { result, residentBytes: process.memoryUsage.rss() };
    process.send!(answer);
  })();
});
// Nobody is there any more to take an answer.
process.once("disconnect", () => process.exit());
