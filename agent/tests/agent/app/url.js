// A worker that connects by REDIS_URL as ioredis reads it.
import { Redis } from "ioredis";
import { worker } from "./common.js";
worker({ connection: new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null }) });
