// Asks the coordinator. Every failure becomes a `Failure` with a sentence and, where one is known, what to do.

/** Longer than the coordinator's own limits: what takes longer will not come. */
const TIMEOUT = 20_000;

export class Failure extends Error {
  constructor(status, error, remedy) {
    super(error);
    this.status = status;
    this.remedy = remedy ?? '';
  }
}

export async function get(path, parameters = {}) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const query = new URLSearchParams(known).toString();
  return answer(query ? `${path}?${query}` : path, { headers: { accept: 'application/json' } });
}

/** The header tells the coordinator that no form of another site sent this. */
export async function act(action, body) {
  return answer(`/api/v1/actions/${action}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-spillway': '1' },
    body: JSON.stringify(body),
  });
}

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT) });
  } catch (error) {
    const why =
      error.name === 'TimeoutError' ? 'the coordinator did not answer in time' : 'no connection to the coordinator';
    throw new Failure(0, why, '');
  }
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) {
    throw new Failure(response.status, body?.error ?? `the coordinator answered ${response.status}`, body?.remedy);
  }
  return body;
}
