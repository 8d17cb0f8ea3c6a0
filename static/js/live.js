// Keeps an analysis page up to date. The page is complete as served; the socket only changes it.

import { MapView } from './mapview.js';
import { keepFolds, keepOrder, upgradeTrees } from './tree.js';

const POLL_MS = 10000;
const SAY_MS = 30000;
const BACKOFF = [500, 1000, 2000, 4000, 8000, 15000];
const OFFLINE_AFTER = 5; // failed attempts, 8 to 12 seconds

const one = (selector, root = document) => root.querySelector(selector);
const live = one('#live');
const connection = one('#connection');
let seq = Number(live.dataset.seq);
let failures = 0;
let socket = null;
let chosen = false; // whether the person picked a tab
let polling = 0;
let reconnecting = 0;
let heard = Date.now();
const ended = () => Boolean(one('#live-status [data-ended]'));

// --- The state of the connection, always visible -------------------------------------------------

const clock = time => new Date(time).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });

function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return seconds < 2 ? 'just now' : `${seconds} s ago`;
  return `at ${clock(Date.now() - ms)}`;
}

function show(state, text) {
  if (connection.dataset.state !== state) {
    connection.dataset.state = state;
    connection.replaceChildren(Object.assign(document.createElement('span'), { className: state === 'still' ? 'dot up' : 'dot' }), document.createElement('span'));
  }
  connection.lastChild.textContent = text;
}

function showConnection() {
  if (ended()) { show('still', 'Up to date'); return; }
  if (socket?.readyState === WebSocket.OPEN) show('live', `Live, updated ${ago(Date.now() - heard)}`);
  else if (failures < OFFLINE_AFTER) show('wait', `Reconnecting, showing ${clock(heard)}`);
  else show('off', `Offline, saved results of ${clock(heard)}`);
}

// --- Changing the page without taking the reader's place -----------------------------------------

const waiting = new Map(); // id -> element that waits behind "Hold" or "2 new"
const settled = new Map(); // id -> element as it is to be once nobody points at it
// Pointed at, or in use by keyboard; a click with the mouse leaves the focus behind and ends nothing.
const busy = element => element.matches(':hover') || Boolean(one(':focus-visible', element));

function prepare(existing, fresh) {
  const tree = one('[role=tree]', existing);
  const next = one('[role=tree]', fresh);
  settled.delete(fresh.id);
  if (!tree || !next) return;
  if (busy(tree)) {
    settled.set(fresh.id, fresh.cloneNode(true));
    keepOrder(tree, next);
  }
  keepFolds(tree, next);
}

// The row that is pointed at or has the focus, and how to put it back where it was.
function pin(existing) {
  const row = one('[role=tree] .trow:hover', existing) || one('[role=tree] .trow:focus', existing);
  const top = row?.getBoundingClientRect().top;
  return () => {
    const now = row && document.getElementById(row.parentElement?.id)?.firstElementChild;
    if (now) document.getElementById(existing.id).scrollTop += now.getBoundingClientRect().top - top;
  };
}

function settle() {
  for (const [id, fresh] of settled) {
    const tree = one(`#${id} [role=tree]`);
    if (!tree || !tree.matches(':hover')) replace(document.getElementById(id), fresh);
  }
  document.querySelectorAll('[role=tree]:not(:hover) .gone:not(:focus)').forEach(row => row.parentElement.remove());
}

for (const name of ['pointerout', 'focusout']) {
  document.addEventListener(name, event => {
    if (event.target.closest?.('[role=tree]') && (settled.size || one('.gone'))) setTimeout(settle, 400);
  });
}

function numbers(element) {
  return new Map([...element.querySelectorAll('[role=tree] > li')]
    .map(item => [item.id, one('.ct', item)?.textContent]));
}

function flash(element, before) {
  if (!before.size) return;
  element.querySelectorAll('[role=tree] > li').forEach(item => {
    if (before.get(item.id) === one('.ct', item)?.textContent) return;
    const row = item.firstElementChild;
    row.classList.remove('flash');
    requestAnimationFrame(() => row.classList.add('flash'));
  });
}

const FIELDS = 'input, select, textarea';

function replace(existing, fresh) {
  prepare(existing, fresh);
  const before = numbers(existing);
  const putBack = pin(existing);
  const used = existing.contains(document.activeElement);
  window.Idiomorph.morph(existing, fresh, {
    morphStyle: 'outerHTML',
    ignoreActiveValue: document.activeElement.matches(FIELDS), // a button's words must change with it
    callbacks: {
      beforeNodeRemoved: node => {
        if (existing.id === 'live-actions') return true; // what can no longer be done must not stay
        if (node.nodeType !== 1 || !node.contains(document.activeElement)) return true;
        node.firstElementChild?.classList.add('gone'); // stays, faded, while it has the focus
        return false;
      },
    },
  });
  putBack();
  if (used && document.activeElement === document.body) { // beside the buttons: a held key presses none
    const place = one(`#${fresh.id}`);
    place.tabIndex = -1;
    place.focus({ preventScroll: true });
  }
  flash(one(`#${fresh.id}`) || existing, before);
}

function held(existing) {
  if (existing.id === 'live-dialogs') return Boolean(one('dialog[open]', existing)); // half-typed text stays
  const panel = existing.closest('[data-hold]');
  return panel?.classList.contains('held') || (existing.closest('[data-panel]') && existing.scrollTop > 10);
}

function change(fresh) {
  const existing = fresh.id && document.getElementById(fresh.id);
  if (!existing) return;
  if (existing.isEqualNode(fresh)) return;
  if (held(existing)) { waiting.set(fresh.id, fresh); countWaiting(); return; }
  replace(existing, fresh);
}

function apply(message) {
  if (message.resync) { location.reload(); return; } // what was missed is no longer kept
  seq = Math.max(seq, message.seq);
  heard = Date.now();
  const incoming = document.createElement('template');
  incoming.innerHTML = message.html;
  upgradeTrees(incoming.content);
  const token = one('input[name=csrfmiddlewaretoken]');
  incoming.content.querySelectorAll('form[method=post]').forEach(form => {
    if (token && !one('input[name=csrfmiddlewaretoken]', form)) form.prepend(token.cloneNode());
  });
  [...incoming.content.children].forEach(change);
  settleNotice();
  drawMap();
  showConnection();
  elsewhere();
}

// What other parts of the page say about this analysis: the sidebar, the title, the tabs.
function elsewhere() {
  const state = one('#live-status .pill').textContent.trim();
  const percent = one('#live-progress .big span.num').textContent;
  const running = Boolean(one('#live-status .pill.run'));
  document.title = `${running ? percent : state} · ${document.title.split(' · ').slice(1).join(' · ')}`;
  const mini = one(`.side .mini[href="${location.pathname}"]`);
  if (mini && !ended()) {
    one('i', mini).style.width = percent;
    one('.num', mini).textContent = running ? percent : state;
    one('.bar', mini).classList.toggle('warn', !running);
  }
  if (ended()) atTheEnd(mini);
  const found = document.querySelectorAll('#live-insights .feed > li').length;
  one('[data-tab=insights]').textContent = found ? `Insights ${found}` : 'Insights';
  if (found && !chosen && !busy(one('[data-panel=feed]'))) openTab('insights');
}

function atTheEnd(mini) {
  if (mini) window.htmx.trigger('#side-running', 'refresh');
  one('[data-so-far]')?.remove();
}

// --- Hold, tabs and entries that wait ------------------------------------------------------------

function freshEntries(id) {
  const known = new Set([...one(`#${id}`).querySelectorAll('.feed > li')].map(item => item.id));
  const items = [...(waiting.get(id)?.querySelectorAll('.feed > li') || [])];
  return items.filter(item => !known.has(item.id)).length;
}

function countWaiting() {
  const open = one('[data-panel]:not([hidden]) > .scr');
  const count = open && waiting.has(open.id) ? freshEntries(open.id) : 0;
  const more = one('.more');
  more.hidden = !count;
  if (count) one('span', more).textContent = `${count} new ${open.id === 'live-feed' ? 'event' : 'insight'}${count === 1 ? '' : 's'}`;
  const hold = one('[data-hold-button]');
  if (hold) hold.title = waiting.has('live-clusters') ? 'An update waits. Let it in (H)' : 'Hold this panel still (H)';
}

function release(id) {
  const fresh = waiting.get(id);
  waiting.delete(id);
  if (fresh) replace(document.getElementById(id), fresh);
  countWaiting();
}

document.addEventListener('click', event => {
  const hold = event.target.closest('[data-hold-button]');
  if (hold) {
    const on = hold.closest('[data-hold]').classList.toggle('held');
    hold.setAttribute('aria-pressed', String(on));
    const icon = one('use', hold);
    icon.setAttribute('href', icon.getAttribute('href').replace(/#.*/, on ? '#lock' : '#lock-open'));
    if (!on) { release('live-clusters'); release('live-hint'); }
  }
  if (event.target.closest('[data-show-new]')) {
    const open = one('[data-panel]:not([hidden]) > .scr');
    open.scrollTop = 0;
    release(open.id);
  }
  const tab = event.target.closest('[data-tab]');
  if (tab) { chosen = true; openTab(tab.dataset.tab); }
});

// --- Wishes: the page changes in place; what is open, chosen and scrolled stays so ---------------

function toast(text) {
  const item = Object.assign(document.createElement('div'), { className: 'toast bad' });
  item.setAttribute('role', 'alert');
  const close = Object.assign(document.createElement('button'), { type: 'button', textContent: 'Dismiss' });
  close.dataset.dismiss = '';
  item.append(Object.assign(document.createElement('span'), { textContent: text }), close);
  one('#toasts').append(item);
}

function markFields(form, fields) {
  form.querySelectorAll('.err').forEach(text => text.remove());
  for (const [name, text] of Object.entries(fields)) {
    const input = form.elements.namedItem(name);
    const error = Object.assign(document.createElement('p'), { className: 'err', textContent: text, role: 'alert' });
    if (input?.type !== 'hidden') input?.focus();
    (input?.closest('.fld') || form).append(error);
  }
}

async function wish(form) {
  const answer = await fetch(form.action, {
    method: 'POST', body: new FormData(form), headers: { Accept: 'application/json' },
  }).catch(() => null);
  if (!answer || answer.status >= 500) { toast('The server could not do this now. What was saved is safe. Try again in a moment.'); return; }
  if (!answer.headers.get('content-type')?.includes('json')) { location.reload(); return; } // signed out
  const said = await answer.json();
  if (answer.status === 422 && said.fields) { markFields(form, said.fields); return; }
  form.closest('dialog')?.close();
  if (!answer.ok) toast(said.title);
  if (!answer.ok || socket?.readyState !== WebSocket.OPEN) await poll();
  if (!ended() && !reconnecting && (!socket || socket.readyState === WebSocket.CLOSED)) connect(); // retried
}

document.addEventListener('submit', async event => {
  const form = event.target;
  if (form.matches('[data-dismiss-notice]')) { event.preventDefault(); dismiss(form.elements.told.value); return; }
  if (!form.matches('[data-wish]') || event.defaultPrevented) return;
  event.preventDefault();
  if (form.dataset.sent) return;
  form.dataset.sent = '1'; // not disabled: the button keeps the focus
  await wish(form);
  delete form.dataset.sent;
});

document.addEventListener('close', event => {
  if (event.target.matches('#live-dialogs dialog')) release('live-dialogs');
}, true);

// --- The one notice; what was dismissed in this browser makes room for the next -------------------

const HOME = location.pathname.replace(/live\/$/, '');
const told = () => (document.cookie.match(/(?:^|; )told=([^;]*)/)?.[1] || '').split('.');

function settleNotice() {
  const panel = one('#live-notice');
  const known = told();
  const notes = [...panel.querySelectorAll('.note')];
  const first = notes.find(note => !known.includes(note.dataset.told));
  notes.forEach(note => { note.hidden = note !== first; });
  panel.hidden = !first;
}

function dismiss(name) {
  const names = [...told().filter(Boolean), name].slice(-8).join('.');
  document.cookie = `told=${names};path=${HOME};max-age=${30 * 24 * 3600};samesite=lax`;
  settleNotice();
}

document.addEventListener('click', event => {
  const close = event.target.closest('[data-close]');
  if (close) close.closest('dialog').close();
  const cell = event.target.closest('[data-batches] i');
  if (cell) location.assign(`${cell.parentElement.dataset.batches}?batch=${cell.id.slice(1)}#batch-${cell.id.slice(1)}`);
});


function openTab(name) {
  document.querySelectorAll('[data-tab]').forEach(button => {
    button.setAttribute('aria-pressed', String(button.dataset.tab === name));
  });
  document.querySelectorAll('[data-panel]').forEach(panel => { panel.hidden = panel.dataset.panel !== name; });
  countWaiting();
}

// --- Map -----------------------------------------------------------------------------------------

let view = null;

function drawMap() {
  const version = one('#live-map')?.dataset.version;
  if (!view || version === view.host.dataset.drawn) return;
  view.host.dataset.drawn = version;
  view.load(version);
}

// --- Socket, and polling while it is down --------------------------------------------------------

function connect() {
  reconnecting = 0;
  if (ended()) { stopPolling(); showConnection(); return; }
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const topic = encodeURIComponent(live.dataset.topic);
  socket = new WebSocket(`${scheme}://${location.host}/ws/live/?topic=${topic}&after=${seq}`);
  socket.addEventListener('open', () => { failures = 0; heard = Date.now(); stopPolling(); showConnection(); });
  socket.addEventListener('message', event => apply(JSON.parse(event.data)));
  socket.addEventListener('close', event => {
    failures += 1;
    showConnection();
    if (event.code === 4401 || event.code === 4403) { location.reload(); return; }
    startPolling();
    reconnecting = setTimeout(connect, BACKOFF[Math.min(failures - 1, BACKOFF.length - 1)]);
  });
}

async function poll() {
  try {
    const answer = await fetch(live.dataset.poll, { headers: { Accept: 'application/json' } });
    if (answer.ok) apply(await answer.json());
  } catch {
    showConnection(); // still no network: the page goes on showing what it has
  }
}

function startPolling() {
  polling ||= setInterval(poll, POLL_MS);
}

function stopPolling() {
  clearInterval(polling);
  polling = 0;
}

// --- A summary for screen readers, at most every 30 seconds --------------------------------------

function say() {
  const percent = one('#live-progress .big span.num')?.textContent;
  const left = one('#live-eta b')?.textContent;
  one('#live-say').textContent = [percent, left].filter(Boolean).join(', ');
}

upgradeTrees(document);
const tab = one('[data-tab][aria-pressed=true]');
if (tab) openTab(tab.dataset.tab);
const host = one('#map');
if (host) {
  view = new MapView(host, {
    onPick: (position, cluster) => {
      const query = cluster === null ? `?i=${position}` : `?c=${cluster}&i=${position}`;
      location.assign(host.dataset.explore + query);
    },
  });
  drawMap();
}
settleNotice();
showConnection();
elsewhere();
connect();
setInterval(showConnection, 1000);
setInterval(() => { if (!ended()) say(); }, SAY_MS);
