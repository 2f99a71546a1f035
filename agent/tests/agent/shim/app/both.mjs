// Both copies of BullMQ in one process, as bun can load them.
import { Worker as CommonJs } from "bullmq";
import { Worker as Module } from "bullmq/dist/esm/index.js";
import { run } from "./common.cjs";
if (CommonJs === Module) throw new Error("they are one");
await run(class extends CommonJs {});
process.env.QUEUES = "r";
await run(Module);
