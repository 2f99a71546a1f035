// REDIS_URL as BullMQ's connection options: redis://, rediss://, or a unix socket (unix:///path?db=0&user=…&pass=…).
export function connection(text = process.env.REDIS_URL || "redis://127.0.0.1:6379") {
  const url = new URL(text);
  const common = { maxRetriesPerRequest: null }; // BullMQ's workers wait for Redis for as long as it takes
  if (url.protocol === "unix:" || url.protocol === "redis+unix:") {
    return {
      ...common,
      path: decodeURIComponent(url.pathname),
      db: Number(url.searchParams.get("db") || 0),
      username: url.searchParams.get("user") || undefined,
      password: url.searchParams.get("pass") || undefined,
    };
  }
  return {
    ...common,
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port || 6379),
    db: Number(url.pathname.slice(1) || 0),
    username: decodeURIComponent(url.username) || undefined,
    password: decodeURIComponent(url.password) || undefined,
    tls: url.protocol === "rediss:" ? {} : undefined,
  };
}

export const queues = (process.env.QUEUE_NAMES || "video-processing").split(",").map((name) => name.trim());
export const prefix = process.env.QUEUE_PREFIX || "bull";
