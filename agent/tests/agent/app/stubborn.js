// A worker that catches SIGINT and goes on.
import { worker } from "./common.js";
worker();
process.on("SIGINT", () => console.log("no"));
