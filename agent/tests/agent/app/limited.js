// A worker that may start one job in ten minutes.
import { worker } from "./common.js";
worker({ limiter: { max: 1, duration: 600_000 } });
