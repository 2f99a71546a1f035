// The page spells durations, counts and money as `spillway status` does.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ago, counted, decisionLine, dollars, inWords, number } from '../../../coordinator/web/src/words.js';

test('durations have two units at the most', () => {
  const cases = [
    [0, '0 s'],
    [0.35, '350 ms'],
    [12, '12 s'],
    [240, '4 min'],
    [299, '4 min 59 s'],
    [7500, '2 h 5 min'],
    [266_400, '3 d 2 h'],
  ];
  for (const [seconds, words] of cases) assert.equal(inWords(seconds), words);
  assert.deepEqual([inWords(NaN), inWords(undefined)], ['unknown', 'unknown']);
});

test('an age has one unit', () => {
  assert.deepEqual(
    [ago(null, 5), ago(1000, 1999), ago(0, 12_000), ago(0, 301_000)],
    ['never', 'just now', '12 s ago', '5 min ago'],
  );
});

test('unknown is never 0', () => {
  assert.deepEqual(
    [number(null), dollars(null), dollars(undefined), dollars(NaN)],
    ['unknown', 'unknown', 'unknown', 'unknown'],
  );
  assert.deepEqual(
    [number(0), dollars(0), number(1204), dollars(0.0712), dollars(12.4), dollars(1204)],
    ['0', '$0.00', '1,204', '$0.0712', '$12.40', '$1,204'],
  );
});

test('counts and decisions read as in explain', () => {
  assert.deepEqual([counted(1, 'job'), counted(2, 'job'), counted(0, 'job')], ['1 job', '2 jobs', '0 jobs']);
  assert.equal(decisionLine({ kind: 'cancel_drain', instance: 'i-1', reason: 'why' }), 'cancel drain i-1: why');
});
