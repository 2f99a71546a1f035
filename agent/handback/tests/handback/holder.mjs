// A worker that takes jobs and never ends one, until it is killed: version redis prefix queue instance concurrency. It
// names itself as our shim does, and prints the id of each job that it has started.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const modules = process.env.BULLMQ_MODULES;
const require = createRequire(modules ? `${modules}/package.json` : new URL("../../../../tests/js/package.json", import.meta.url));
const { Redis } = require("ioredis");

const [version, url, prefix, queue, instance, concurrency] = process.argv.slice(2);
const { Worker } = require(`bullmq${version}`);
const connection = new Redis({ path: url.replace("redis+unix://", ""), maxRetriesPerRequest: null });
const forever = (job) => new Promise(() => process.stdout.write(`${JSON.stringify(job.id)}\n`));
const options = { connection, prefix, name: instance, concurrency: Number(concurrency), autorun: false };
const worker = new Worker(queue, forever, options);
worker.id = `${instance}:${randomUUID()}`;
worker.run();
setInterval(() => {}, 1000);
