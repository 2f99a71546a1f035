// The worker under PM2, as BullMQ's users have it. WORKER names the script, so that each test can have its own.
const script = process.env.WORKER || "worker.js";
module.exports = { apps: [{ name: "worker", script, interpreter: "bun", min_uptime: "1s" }] };
