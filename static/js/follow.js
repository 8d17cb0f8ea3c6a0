// Keeps a page of panels up to date. The page is complete as served; the socket only changes it.
// The element with data-follow names the topic, the last event seen and where to ask while the
// socket is down. A panel that is in use, by an open menu or a drag, waits until it is not.

const POLL_MS = 10000;
const FIGURES_MS = 30000; // figures move without events, with every call
const BACKOFF = [500, 1000, 2000, 4000, 8000, 15000];
const OFFLINE_AFTER = 5; // failed attempts, 8 to 12 seconds

const one = (selector, root = document) => root.querySelector(selector);
const root = one('[data-follow]');
const connection = one('#connection');
const waiting = new Map(); // id -> panel as it is to be once nobody uses it
let seq = Number(root.dataset.seq);
let failures = 0;
let polling = 0;
let socket = null;
let heard = Date.now();

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
    connection.replaceChildren(Object.assign(document.createElement('span'), { className: 'dot' }), document.createElement('span'));
  }
  connection.lastChild.textContent = text;
}

function showConnection() {
  if (socket?.readyState === WebSocket.OPEN) show('live', `Live, updated ${ago(Date.now() - heard)}`);
  else if (failures < OFFLINE_AFTER) show('wait', `Reconnecting, showing ${clock(heard)}`);
  else show('off', `Offline, as of ${clock(heard)}`);
}

// --- Changing panels -----------------------------------------------------------------------------

const used = panel => Boolean(one('details.switcher[open], .moving, :is(input:not([type=hidden]), select):focus, [data-sent]', panel));

function withToken(fresh) {
  const token = one('input[name=csrfmiddlewaretoken]');
  fresh.querySelectorAll('form[method=post]').forEach(form => {
    if (token && !one('input[name=csrfmiddlewaretoken]', form)) form.prepend(token.cloneNode());
  });
}

function put(fresh) {
  const panel = fresh.id && document.getElementById(fresh.id);
  if (!panel || panel.isEqualNode(fresh)) return;
  if (used(panel)) { waiting.set(fresh.id, fresh); return; }
  waiting.delete(fresh.id);
  window.Idiomorph.morph(panel, fresh, { morphStyle: 'outerHTML', ignoreActiveValue: document.activeElement.matches('input, select, textarea') });
  window.htmx?.process(document.getElementById(fresh.id));
}

function settle() {
  for (const fresh of [...waiting.values()]) put(fresh);
}

function apply(message) {
  if (message.resync) { location.reload(); return; } // what was missed is no longer kept
  seq = Math.max(seq, message.seq);
  heard = Date.now();
  const incoming = document.createElement('template');
  incoming.innerHTML = message.html;
  withToken(incoming.content);
  [...incoming.content.children].forEach(put);
  for (const id of message.again || []) again(id);
  showConnection();
}

// A panel that depends on what is chosen in this page is asked for anew by its own address.
function again(id) {
  const panel = document.getElementById(id);
  if (panel && !used(panel)) window.htmx?.trigger(panel, 'refresh');
}

// --- Socket, and polling while it is down --------------------------------------------------------

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const topic = encodeURIComponent(root.dataset.follow);
  socket = new WebSocket(`${scheme}://${location.host}/ws/live/?topic=${topic}&after=${seq}`);
  socket.addEventListener('open', () => {
    failures = 0;
    heard = Date.now();
    clearInterval(polling);
    polling = 0;
    showConnection();
  });
  socket.addEventListener('message', event => apply(JSON.parse(event.data)));
  socket.addEventListener('close', event => {
    failures += 1;
    showConnection();
    if (event.code === 4401 || event.code === 4403) { location.reload(); return; }
    polling ||= setInterval(poll, POLL_MS);
    setTimeout(connect, BACKOFF[Math.min(failures - 1, BACKOFF.length - 1)]);
  });
}

async function poll() {
  try {
    const answer = await fetch(root.dataset.poll, { headers: { Accept: 'application/json' } });
    if (answer.ok) apply(await answer.json());
  } catch {
    showConnection(); // still no network: the page goes on showing what it has
  }
}

document.addEventListener('focusout', () => setTimeout(settle, 200));
document.addEventListener('toggle', () => setTimeout(settle, 200), true);
document.addEventListener('order:settled', settle);
showConnection();
connect();
setInterval(showConnection, 1000);
setInterval(() => { if (!polling && !document.hidden) poll(); }, FIGURES_MS);
