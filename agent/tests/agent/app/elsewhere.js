// A worker of another queue or database than the agent's.
import { Worker } from "bullmq";
import { connection } from "./common.js";
new Worker(process.env.QUEUE || "q", async () => {}, { connection: { ...connection, db: Number(process.env.DB || 0) } });
