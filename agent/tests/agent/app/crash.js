// A worker that connects, and then falls over: again and again.
import { worker } from "./common.js";
worker();
setTimeout(() => process.exit(1), 1200);
