// The providers page: order by drag or arrow keys, and switches that need no button.
// Without this file everything can still be done by the menus.

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const SAVE_AFTER = 500; // ms without another key before the order is sent

// --- The order of use ----------------------------------------------------------------------------

const items = chain => [...chain.children];
const listed = chain => items(chain).map(item => item.dataset.target).join(',');
let saving = 0;

function renumber(chain) {
  items(chain).forEach((item, place, whole) => {
    one('.ord', item).textContent = place + 1;
    one('.grab', item)?.setAttribute('aria-label', `Move ${item.dataset.name}. Position ${place + 1} of ${whole.length}. Arrow keys change it.`);
  });
}

function say(text) {
  const line = one('#order-said');
  line.className = 'said sr';
  line.textContent = text;
}

function send(chain) {
  const form = chain.closest('form');
  const values = { order: listed(chain) };
  form.dataset.sent = '1';
  window.htmx.ajax('POST', form.action, { source: form, target: '#providers-order', swap: 'morph:outerHTML', values })
    .finally(() => { delete form.dataset.sent; document.dispatchEvent(new Event('order:settled')); });
}

function place(chain, item, to) {
  const others = items(chain).filter(other => other !== item);
  const at = Math.max(0, Math.min(others.length, to));
  if (items(chain).indexOf(item) === at) return false;
  chain.insertBefore(item, others[at] || null);
  renumber(chain);
  return true;
}

document.addEventListener('keydown', event => {
  const grab = event.target.closest?.('.grab');
  if (!grab) return;
  const chain = grab.closest('[data-chain]');
  const item = grab.closest('li');
  const now = items(chain).indexOf(item);
  const to = { ArrowUp: now - 1, ArrowLeft: now - 1, ArrowDown: now + 1, ArrowRight: now + 1, Home: 0, End: items(chain).length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (!place(chain, item, to)) { say(`${item.dataset.name} stays at position ${now + 1} of ${items(chain).length}.`); return; }
  grab.focus();
  say(`${item.dataset.name}, position ${items(chain).indexOf(item) + 1} of ${items(chain).length}.`);
  clearTimeout(saving);
  saving = setTimeout(() => send(one('[data-chain]')), SAVE_AFTER);
});

function follow(chain, item, y) {
  const others = items(chain).filter(other => other !== item);
  const to = others.filter(other => {
    const box = other.getBoundingClientRect();
    return y > box.top + box.height / 2;
  }).length;
  place(chain, item, to);
}

document.addEventListener('pointerdown', event => {
  const grab = event.target.closest?.('.grab');
  if (!grab || event.button > 0) return;
  const item = grab.closest('li');
  const chain = grab.closest('[data-chain]');
  const before = listed(chain);
  event.preventDefault();
  grab.focus();
  item.classList.add('moving');
  const move = moved => follow(chain, item, moved.clientY);
  const end = ended => {
    removeEventListener('pointermove', move);
    for (const name of ['pointerup', 'pointercancel']) removeEventListener(name, end);
    item.classList.remove('moving');
    if (ended.type === 'pointercancel') restore(chain, before);
    if (listed(chain) === before) { document.dispatchEvent(new Event('order:settled')); return; }
    say(`${item.dataset.name}, position ${items(chain).indexOf(item) + 1} of ${items(chain).length}.`);
    send(chain);
  };
  addEventListener('pointermove', move);
  for (const name of ['pointerup', 'pointercancel']) addEventListener(name, end);
});

function restore(chain, order) {
  order.split(',').forEach(pk => chain.append(one(`[data-target="${pk}"]`, chain)));
  renumber(chain);
}

// --- Menus: one open at a time, closed once something was chosen ----------------------------------

document.addEventListener('htmx:afterRequest', event => {
  all('details.switcher[open]', event.target.closest?.('section') || document).forEach(menu => { menu.open = false; });
});
