// The worker under PM2, as BullMQ's users have it. WORKER names the script, so that each test can have its own, and
// PROCESSES how many of it.
const script = process.env.WORKER || "worker.js";
const instances = Number(process.env.PROCESSES || 1);
module.exports = { apps: [{ name: "worker", script, interpreter: "bun", exec_mode: "fork", instances }] };
