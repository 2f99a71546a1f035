// While something cannot be read, the page is the diagnosis: what, since when, what follows, and what to do.

import { row } from './attention.js';
import { age, h, paint, ticks } from './dom.js';
import { sentence } from './headline.js';
import { time } from './words.js';

export function diagnosis(host, { pool, historyProblem, history, connection }) {
  const causes = [];
  if (pool?.observation_problem)
    causes.push({
      what: 'The queues in Redis',
      why: pool.observation_problem,
      link: row('cannot read the queues ('),
      since: time(pool.backlog?.at),
      before: 'last read ',
    });
  if (pool?.listing_problem)
    causes.push({
      what: "EC2's list of instances",
      why: pool.listing_problem,
      link: row("cannot list EC2's instances ("),
    });
  if (historyProblem && connection.state === 'live') {
    causes.push({
      what: 'The history of queues and instances',
      why: historyProblem.error,
      remedy: historyProblem.remedy,
      since: historyProblem.since,
      before: 'since ',
      isHistory: true,
    });
  }
  const stopsScaling = Boolean(pool?.observation_problem || pool?.listing_problem);
  host.hidden = causes.length === 0;
  paint(host, [causes, Boolean(history)], () =>
    causes.length === 0
      ? []
      : [
          h('h2', {}, 'What cannot be read'),
          h(
            'dl',
            {},
            causes.map((it) => [
              h('dt', {}, it.what, it.since ? [' ', h('span', { class: 'muted' }, age(it.since, it.before))] : ''),
              h(
                'dd',
                {},
                sentence(it.why),
                it.remedy ? [' ', ticks(sentence(it.remedy))] : '',
                it.link ? [' ', h('a', { href: it.link }, 'Runbook')] : '',
              ),
            ]),
          ),
          h('h3', {}, 'What follows'),
          h(
            'ul',
            {},
            [
              stopsScaling && 'Nothing is launched, drained or terminated: unknown is not zero.',
              stopsScaling &&
                'Instances keep working, and are billed on. After the policy’s idle time this becomes an alert. After twice that time, instances whose agents report no job are drained, if EC2 can be listed.',
              stopsScaling && 'The numbers on this page are the last that could be read.',
              !stopsScaling &&
                'The status, the plan and the instances of now are live. Charts, decisions and past plans are not.',
              causes.some((it) => it.isHistory) &&
                (history
                  ? 'The charts show what was read last.'
                  : 'There is nothing to draw until the history can be read; it is tried again every 5 s.'),
            ]
              .filter(Boolean)
              .map((it) => h('li', {}, it)),
          ),
          h('h3', {}, 'What to do'),
          h(
            'ul',
            {},
            [
              pool?.observation_problem &&
                '`spillway queues` on the primary asks Redis directly: is it up, and are the password and the permissions right?',
              pool?.listing_problem && "`spillway doctor` looks at the primary's role, its clock and its way to EC2.",
              !stopsScaling && '`spillway status` and `spillway explain` need no history.',
            ]
              .filter(Boolean)
              .map((it) => h('li', {}, ticks(it))),
          ),
        ],
  );
}
