module.exports = {
  apps: [{ name: "worker", script: process.env.SCRIPT, interpreter: "bun", exec_mode: "fork", instances: 2 }],
};
