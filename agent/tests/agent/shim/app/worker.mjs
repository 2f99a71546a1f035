import { Worker } from "bullmq";
import { run } from "./common.cjs";
await run(Worker);
