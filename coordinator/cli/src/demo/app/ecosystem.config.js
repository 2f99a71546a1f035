module.exports = {
  apps: [
    {
      name: "video-worker",
      script: "worker.js",
      interpreter: "bun",
      exec_mode: "fork",
      instances: 1,
    },
  ],
};
