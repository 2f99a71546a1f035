// Numbers that look like chance and are the same in every run.

export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** An id as EC2 gives them. */
export const instanceId = (next) =>
  `i-${Array.from({ length: 17 }, () => Math.floor(next() * 16).toString(16)).join('')}`;
