// The worker under PM2, as BullMQ's users have it. WORKER names the script, so that each test can have its own, and
// PROCESSES how many of it.
const script = process.env.WORKER || "worker.js";
const instances = Number(process.env.PROCESSES || 1);
// INTERPRETER is what runs it, ARGS what it is given, APP_ENV what an ecosystem file sets in its environment.
const interpreter = process.env.INTERPRETER || "bun";
const args = process.env.ARGS || undefined;
const env = JSON.parse(process.env.APP_ENV || "{}");
module.exports = { apps: [{ name: "worker", script, interpreter, exec_mode: "fork", instances, env, ...(args && { args }) }] };
