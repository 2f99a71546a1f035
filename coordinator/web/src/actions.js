// What an operator may do here. Every action says in a dialog what will happen, and asks once more.

import { announce, h, paint, write } from './dom.js';
import { act } from './api.js';
import { counted } from './words.js';

const NOTICE = 120;

/** Each: what its button says, what will happen, and what it asks for beside a reason. */
const ACTIONS = {
  hold: {
    button: 'Hold',
    title: (it) => `Hold ${it.pool}`,
    confirm: 'Hold the pool',
    says: () => [
      'No launches and no scale-in until somebody resumes the pool.',
      'Boots, drains and terminations in progress continue. Instances that run are billed on.',
    ],
  },
  resume: {
    button: 'Resume',
    title: (it) => `Resume ${it.pool}`,
    confirm: 'Resume the pool',
    says: () => [
      'A hold ends, back-offs are forgotten and the breaker closes: the next tick decides again.',
      'It may launch instances at once.',
    ],
  },
  drain: {
    button: 'Drain',
    title: (it) => `Drain ${it.instance}`,
    confirm: 'Drain the instance',
    says: ({ jobs }) => [
      `It takes no new job. ${jobs === null ? 'What it works on' : jobs === 0 ? 'It has no job now; what it works on by then' : `Its ${counted(jobs, 'job')}`} may finish until drain_timeout; what is left is handed back and waits at the front of its queue.`,
      'Then it is terminated. Where demand asks for it, another instance is launched in its place.',
    ],
  },
  'cancel-drain': {
    button: 'Cancel drain',
    title: (it) => `Cancel the drain of ${it.instance}`,
    confirm: 'Let it take jobs again',
    reasonless: true,
    says: () => [
      'It takes jobs again.',
      'Rejected where the policy would drain it again at once: hold the pool first.',
    ],
  },
  rehearse: {
    button: 'Game day',
    title: (it) => `Interrupt ${it.instance} for a rehearsal`,
    confirm: 'Interrupt it',
    reasonless: true,
    notice: true,
    isDangerous: true,
    says: ({ jobs }) => [
      `Its agent behaves as if EC2 had given notice: it takes no new job, and ${jobs === null ? 'its jobs' : counted(jobs, 'job')} must finish in the time below or be handed back.`,
      'Then it really is terminated, and replaced where demand asks for it.',
    ],
  },
};

/** Why nobody may act now; empty where they may. */
export function whyNot({ session, status, connection }) {
  if (connection.state === 'cut') return 'Cut off from the coordinator: nothing can be asked of it.';
  if (!session) return 'The coordinator has not said yet whether you may act.';
  if (!session.may_act) return session.why_not || 'You may look, and not act.';
  if (status && !status.leader && (status.pools ?? []).some((it) => it.observation_problem))
    return 'Redis cannot be read, where the lease is that says who leads: nobody can act until it can.';
  if (status && !status.leader) return 'This coordinator is a standby: only the leader acts.';
  return '';
}

/** Hold and resume, below the plan. */
export function render(host, scene) {
  const { pool } = scene;
  const model = [pool?.name, pool?.held, pool?.hold_reason, scene.whyNot];
  paint(host, model, () => {
    if (!pool) return h('p', { class: 'empty' }, 'There is no pool to act on.');
    const target = { pool: pool.name };
    return [
      h(
        'p',
        {},
        pool.held
          ? `The pool is held${pool.hold_reason ? `: ${pool.hold_reason}` : ''}.`
          : 'The pool is not held. Resume also lifts a breaker or a back-off; a queue that is paused is resumed in BullMQ. Drain, cancel drain and game day are with each instance.',
      ),
      scene.whyNot && h('p', { id: 'why-not', class: 'muted' }, scene.whyNot),
      h('div', { class: 'buttons' }, pool.held ? null : button('hold', target, scene), button('resume', target, scene)),
    ];
  });
}

/** What may be asked of an instance in its phase. */
export function instanceActions(instance, scene) {
  const target = {
    pool: scene.pool.name,
    instance: instance.id,
    jobs: instance.heartbeat?.active_jobs ?? instance.jobs_in_redis ?? null,
  };
  if (!instance.id) return h('p', { class: 'muted' }, 'EC2 has not answered its launch yet: it cannot be drained.');
  const names = { booting: ['drain'], ready: ['drain', 'rehearse'], draining: ['cancel-drain'] }[instance.phase] ?? [];
  if (names.length === 0) return null;
  return h(
    'div',
    { class: 'buttons' },
    names.map((name) => button(name, target, scene)),
    scene.whyNot && h('span', { class: 'muted' }, scene.whyNot),
  );
}

function button(name, target, scene) {
  const action = ACTIONS[name];
  return h(
    'button',
    {
      type: 'button',
      disabled: Boolean(scene.whyNot),
      'aria-describedby': scene.whyNot ? 'why-not' : null,
      title: scene.whyNot || null,
      data: { key: `${name}-${target.instance ?? target.pool}`, action: name },
      'aria-label': target.instance ? `${action.button} ${target.instance}` : null,
      onclick: () => ask(name, target),
    },
    action.button,
  );
}

function ask(name, target) {
  const action = ACTIONS[name];
  const dialog = document.getElementById('dialog');
  const answer = h('p', { class: 'answer', role: 'alert' });
  const reason = h('input', { id: 'reason', type: 'text', maxlength: '200', autocomplete: 'off' });
  const notice = h('input', { id: 'notice', type: 'number', min: '0', max: '3600', value: String(NOTICE) });
  const confirm = h('button', { type: 'submit', class: action.isDangerous ? 'danger' : 'primary' }, action.confirm);
  const close = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
  const form = h(
    'form',
    { method: 'dialog', onsubmit: send },
    h('h2', { id: 'dialog-title' }, action.title(target)),
    h('p', {}, 'What will happen:'),
    h(
      'ul',
      {},
      action.says(target).map((it) => h('li', {}, it)),
    ),
    !action.reasonless && h('label', { for: 'reason' }, 'Reason, for whoever reads it later', reason),
    action.notice && h('label', { for: 'notice' }, 'Notice in seconds (EC2 gives 120)', notice),
    answer,
    h('div', { class: 'buttons' }, confirm, close),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
  (action.reasonless ? close : reason).focus();

  async function send(event) {
    event.preventDefault();
    confirm.disabled = true;
    write(answer, '');
    const body = { pool: target.pool, instance: target.instance, reason: reason.value.trim() || undefined };
    if (action.notice) body.notice = Number(notice.value);
    try {
      const { message } = await act(name, body);
      dialog.close();
      told(message);
    } catch (failure) {
      write(answer, [failure.message, failure.remedy].filter(Boolean).join('. '));
      confirm.disabled = false;
    }
  }
}

/** What the coordinator answered stays until the next one. */
function told(message) {
  const host = document.getElementById('told');
  host.hidden = false;
  host.replaceChildren(
    h('span', {}, message),
    ' ',
    h('button', { type: 'button', class: 'small', onclick: () => (host.hidden = true) }, 'Close'),
  );
  announce(message);
}
