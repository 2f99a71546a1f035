const { Worker } = require("bullmq");
require("./common.cjs").run(Worker);
