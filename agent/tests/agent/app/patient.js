// A worker that lets Redis wait for a job for five minutes, as hosted Redis advise.
import { worker } from "./common.js";
worker({ drainDelay: 300 });
