// A worker of an application that adds a job when it starts.
import { Queue } from "bullmq";
import { appendFileSync } from "node:fs";
import { connection, worker } from "./common.js";
new Queue("q", { connection }).add("at-start", {});
worker({}, async () => appendFileSync(process.env.NOTE, "ran"));
