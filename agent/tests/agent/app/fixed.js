// A worker that has the address of its Redis from elsewhere than REDIS_URL, and waits until it is there.
import { Worker } from "bullmq";
const [host, port] = process.env.QUEUE_AT.split(" ");
const worker = new Worker("q", async () => {}, { connection: { host, port: Number(port) } });
worker.on("error", (error) => console.error(String(error)));
