// A worker that follows a fail-over, as ioredis' documentation has it.
import { connection, worker } from "./common.js";
const reconnectOnError = (error) => /READONLY|UNBLOCKED/.test(error.message);
worker({ connection: { ...connection, reconnectOnError } });
