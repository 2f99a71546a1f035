// A worker without a signal handler: SIGINT kills it in the middle of a job.
import { worker } from "./common.js";
worker();
