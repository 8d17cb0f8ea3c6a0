// Explore without reloading: links and forms of the page fetch the panes alone. Every state has
// an address, so Back works and a copied link opens the same view.

import { MapView } from './mapview.js';
import { keepFolds, upgradeTrees } from './tree.js';

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const PARTS = ['filters', 'p-tree', 'sel', 'p-read'];
const SETTLE = { 'p-read': '.scr' };

let under = null; // the request under way

async function go(url, push = true) {
  under?.abort();
  under = new AbortController();
  const late = setTimeout(() => one('#ex').setAttribute('aria-busy', 'true'), 300);
  try {
    const answer = await fetch(url, { headers: { 'X-Panes': '1' }, signal: under.signal });
    if (!answer.ok || answer.redirected) { location.assign(url); return; }
    const html = await answer.text();
    if (push) history.pushState(null, '', url);
    change(html);
  } catch (error) {
    if (error.name !== 'AbortError') location.assign(url);
  } finally {
    clearTimeout(late);
    one('#ex').removeAttribute('aria-busy');
  }
}

function change(html) {
  const incoming = new DOMParser().parseFromString(html, 'text/html');
  upgradeTrees(incoming);
  for (const id of PARTS) {
    const existing = document.getElementById(id);
    const fresh = incoming.getElementById(id);
    if (!existing || !fresh) continue;
    const tree = one('[role=tree]', existing);
    const next = one('[role=tree]', fresh);
    if (tree && next) keepFolds(tree, next);
    const find = one('[data-find]', existing)?.value;
    window.Idiomorph.morph(existing, fresh, { morphStyle: 'outerHTML', ignoreActiveValue: true });
    if (find) { one('[data-find]').value = find; filterTree(); }
    const scroller = SETTLE[id] && one(`#${id} ${SETTLE[id]}`);
    if (scroller) scroller.scrollTop = 0;
  }
  const pane = one('.ex > section.show')?.id;
  all('[data-pane]').forEach(button => button.setAttribute('aria-pressed', String(button.dataset.pane === pane)));
  showPane(one('.panes [aria-pressed=true]', incoming)?.dataset.pane || pane);
  reveal();
  selectOnMap(true);
}

function showPane(id) {
  all('.ex > section').forEach(section => section.classList.toggle('show', section.id === id));
  all('[data-pane]').forEach(button => button.setAttribute('aria-pressed', String(button.dataset.pane === id)));
  view?.map.size();
}

function reveal() {
  const row = one('#tree [aria-selected=true]');
  const box = one('#tree-scroll');
  if (!row || !box) return;
  const [a, b] = [row.getBoundingClientRect(), box.getBoundingClientRect()];
  if (a.top < b.top || a.bottom > b.bottom) row.scrollIntoView({ block: 'center' });
}

function withParams(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  return url;
}

// --- Map -----------------------------------------------------------------------------------------

const host = one('#map');
let view = null;

function selectOnMap(move) {
  if (!view?.map.index) return;
  const text = one('#sel').dataset.selected;
  const key = text === '' ? null : Number(text);
  const changed = key !== view.map.selectedKey;
  view.map.select(key);
  view.map.setLasso(new URL(location.href).searchParams.get('lasso') || '');
  const legend = one('#map-key');
  legend.hidden = key === null;
  const hue = `var(--c${one('#sel').dataset.hue || 10})`;
  one('i', legend).style.background = hue;
  one('.tint', legend).style.background = `color-mix(in srgb, ${hue} 40%, var(--surface))`;
  if (changed && move) view.map.showSelection();
}

if (host) {
  view = new MapView(host, {
    onPick: (position, cluster) => {
      const here = cluster !== null && view.map.selected?.has(view.map.index.get(cluster));
      go(withParams({ i: position, after: null, view: 'read', ...(here ? {} : { c: cluster }) }));
    },
    onLasso: lasso => {
      if (lasso || new URL(location.href).searchParams.has('lasso')) {
        go(withParams({ lasso, i: null, after: null, view: lasso ? 'read' : 'map' }));
      }
    },
    onLoad: () => selectOnMap(true),
  });
}

// --- Clicks, forms, keys -------------------------------------------------------------------------

function filterTree() {
  const words = one('[data-find]').value.trim().toLowerCase();
  const items = all('#tree > li');
  const levels = items.map(item => Number(item.firstElementChild.getAttribute('aria-level')));
  const hits = items.map(item => one('.nm', item).textContent.toLowerCase().includes(words));
  // A theme stays when something in it matches, and everything in a matching theme stays.
  items.forEach((item, place) => {
    let keep = hits[place];
    for (let next = place + 1; next < items.length && levels[next] > levels[place]; next++) keep ||= hits[next];
    for (let before = place, level = levels[place]; before >= 0 && level > 1; before--) {
      if (levels[before] < level) { level = levels[before]; keep ||= hits[before]; }
    }
    item.hidden = !keep;
    if (words && keep) item.firstElementChild.hasAttribute('aria-expanded') && item.firstElementChild.setAttribute('aria-expanded', 'true');
  });
  const none = one('[data-none]');
  if (none) none.hidden = items.some(item => !item.hidden);
}

async function copyLink(button) {
  await navigator.clipboard?.writeText(location.href);
  const text = one('span', button);
  if (!text) { button.setAttribute('aria-label', 'Link copied'); return; }
  const before = text.textContent;
  text.textContent = 'Link copied';
  setTimeout(() => { text.textContent = before; }, 2000);
}

document.addEventListener('click', event => {
  const copy = event.target.closest('[data-copy-link]');
  if (copy) copyLink(copy);
  all('details.pick[open]').forEach(menu => { if (!menu.contains(event.target)) menu.open = false; });
  const link = event.target.closest('a[href^="?"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  if (link.dataset.pane) {
    showPane(link.dataset.pane);
    history.replaceState(null, '', withParams({ view: link.dataset.pane.slice(2) }));
    return;
  }
  link.closest('details.pick')?.removeAttribute('open');
  go(new URL(link.getAttribute('href'), location.href));
});

document.addEventListener('submit', event => {
  if (!event.target.matches('.seek')) return;
  event.preventDefault();
  const params = new URLSearchParams(new FormData(event.target));
  go(withParams({ q: params.get('q'), i: null, after: null }));
});

document.addEventListener('input', event => {
  if (event.target.matches('[data-find]')) filterTree();
});

document.addEventListener('keydown', event => {
  if (event.key !== 'Escape' || one('dialog[open]') || event.target.closest('input')) return;
  const menu = one('details.pick[open]');
  if (menu) { menu.open = false; one('summary', menu).focus(); return; }
  const params = new URL(location.href).searchParams;
  if (params.has('i')) go(withParams({ i: null }));
  else if (params.has('c')) go(withParams({ c: null, after: null }));
});

addEventListener('popstate', () => go(location.href, false));

upgradeTrees(document);
if (view) {
  view.load(host.dataset.version);
}
reveal();
