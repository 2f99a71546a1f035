// BullMQ by major version, and REDIS_URL as a connection.
import { createRequire } from "node:module";
import { Redis } from "ioredis";

const require = createRequire(import.meta.url);

export function bullmq(version) {
  if (![4, 5, 6].includes(version)) throw new Error(`version must be 4, 5 or 6, not ${version}`);
  return require(`bullmq${version}`);
}

export function connect(url, options = {}) {
  const socket = url.match(/^(?:redis\+)?unix:\/\/([^?]+)/);
  const common = { maxRetriesPerRequest: null, ...options };
  return socket ? new Redis({ path: socket[1], ...common }) : new Redis(url, common);
}
