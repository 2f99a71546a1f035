// The coordinator's HTTP, made up: serves the page as the coordinator does, and answers from a scenario. Tests start
// it in their own process; `node mock/server.js SCENARIO [PORT]` shows a scenario in a browser.

import { createServer } from 'node:http';
import { readFileSync, readdirSync } from 'node:fs';
import { brotliCompressSync } from 'node:zlib';

import { pack } from '../../../coordinator/web/pack.js';
import { Scenario } from './scenarios.js';

const WEB = new URL('../../../coordinator/web/', import.meta.url);
const SECURITY = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};
const TYPES = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
};

/**
 * The page's files as they go over the wire: packed as for the coordinator, or the modules as they are. Without uPlot its
 * two files are empty, as a coordinator that was built without it serves them.
 */
export function assets({ uplot = true, modules = false } = {}) {
  const files = pack();
  if (modules) {
    const names = readdirSync(new URL('src/', WEB));
    names.forEach((name) => (files[name] = readFileSync(new URL(`src/${name}`, WEB), 'utf8')));
  }
  for (const name of Object.keys(files).filter((it) => it.startsWith('uPlot'))) {
    if (!uplot) files[name] = '';
    if (uplot === 'missing') delete files[name];
  }
  return new Map(Object.entries(files).map(([name, text]) => [name, brotliCompressSync(text)]));
}

/**
 * `options`: `mayAct`, `whyNot`, `cutOffAfter` (seconds), `uplot`, `modules`. The answer has `url`, `requests` (of actions, with
 * their headers), `cut()` and `heal()` (of the stream), `push(change)` and `stop()`.
 */
export async function serve(name, options = {}) {
  const scenario = new Scenario(name);
  const files = assets(options);
  const streams = new Set();
  const requests = [];
  let isCut = false;
  let opened = 0;
  const status = () => JSON.stringify(scenario.status(Date.now()));
  const tell = (stream) => stream.write(`event: status\ndata: ${status()}\n\n`);

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://127.0.0.1');
    const answer = (code, type, body, more = {}) =>
      response.writeHead(code, { ...SECURITY, 'content-type': type, ...more }).end(body);
    const json = (code, body) => answer(code, 'application/json', JSON.stringify(body));
    const file = (it) => {
      const found = files.get(it);
      if (!found) return answer(404, 'text/plain', 'not found\n');
      return answer(200, TYPES[it.split('.').at(-1)], found, {
        'content-encoding': 'br',
        'cache-control': 'no-cache',
      });
    };
    const query = Object.fromEntries(url.searchParams);
    if (url.pathname === '/') return file('index.html');
    if (url.pathname.startsWith('/assets/')) return file(url.pathname.slice('/assets/'.length));
    if (url.pathname === '/runbook')
      return answer(200, TYPES.html, '<!doctype html><html lang="en"><title>Runbook</title><h1>Runbook</h1>');
    if (url.pathname === '/api/v1/session')
      return json(200, {
        ...scenario.session(),
        now: Date.now(),
        may_act: options.mayAct ?? true,
        why_not: options.whyNot ?? '',
        cut_off_after: options.cutOffAfter,
      });
    if (url.pathname === '/api/v1/status') return answer(200, 'application/json', status());
    if (url.pathname === '/api/v1/history') return json(...scenario.history(query, Date.now()));
    if (url.pathname === '/api/v1/plans') return json(200, scenario.plans(query, Date.now()));
    if (url.pathname === '/api/v1/money') return json(200, scenario.money(Date.now()));
    if (url.pathname === '/api/v1/stream') return stream(response);
    if (url.pathname.startsWith('/api/v1/actions/')) return action(url.pathname.split('/').at(-1), request, json);
    return answer(404, 'text/plain', 'not found\n');
  });

  function stream(response) {
    if (isCut) return response.destroy();
    response.writeHead(200, { ...SECURITY, 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    streams.add(response);
    opened += 1;
    response.on('close', () => streams.delete(response));
    tell(response);
  }

  async function action(name, request, json) {
    let body = '';
    for await (const part of request) body += part;
    requests.push({ name, method: request.method, headers: request.headers, body: JSON.parse(body) });
    if (request.headers['x-spillway'] !== '1')
      return json(403, { error: 'refused: the header x-spillway is missing', remedy: '' });
    const [code, answer] = scenario.act(name, requests.at(-1).body);
    streams.forEach(tell);
    return json(code, answer);
  }

  const beat = setInterval(() => streams.forEach((it) => it.write(': nothing changed\n\n')), options.beat ?? 1000);
  const ticks = setInterval(() => scenario.ticks() && streams.forEach(tell), 1000);
  await new Promise((done) => server.listen(options.port ?? 0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    scenario,
    requests,
    cut() {
      isCut = true;
      streams.forEach((it) => it.destroy());
    },
    heal: () => (isCut = false),
    /** How often a stream was opened. */
    opened: () => opened,
    push(change) {
      change(scenario);
      streams.forEach(tell);
    },
    async stop() {
      clearInterval(beat);
      clearInterval(ticks);
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const [, , name = 'flood', port = '7490'] = process.argv;
  const mock = await serve(name, { port: Number(port) });
  console.log(`${name}: ${mock.url}`);
}
