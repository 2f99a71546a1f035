// A worker for node.
const { Worker } = require("bullmq");
const { hostname: host, port } = new URL(process.env.REDIS_URL || require("fs").readFileSync(".env", "utf8").slice(10));
new Worker("q", async () => {}, { connection: { host, port: Number(port) }, name: process.env.SPILLWAY_INSTANCE_ID });
