// What every worker here does: a job sleeps for as long as it says.
import { Worker } from "bullmq";
const { hostname: host, port } = new URL(process.env.REDIS_URL);
export const connection = { host, port: Number(port) };
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const worker = (options, processor = async (job) => sleep(job.data.ms)) =>
  new Worker("q", processor, { connection, name: process.env.SPILLWAY_INSTANCE_ID, concurrency: 2, ...options });
