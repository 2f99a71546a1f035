import { Worker } from "bullmq";
import { run } from "./common.cjs";
run(Worker);
