// Small behaviours shared by every page. The pages work without them; they only make it quicker.
'use strict';

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const YEAR = 31536000;

// --- Theme: a cookie, so that the server draws the next page in it without a flash -------------

function currentTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  return document.documentElement.dataset.theme || (dark ? 'dark' : 'light');
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme};path=/;max-age=${YEAR};samesite=lax`;
  dispatchEvent(new CustomEvent('themechange', { detail: theme }));
}

// --- Sidebar: folded by choice, remembered in this browser -------------------------------------

const app = one('.app');

function foldSidebar() {
  const folded = app.classList.toggle('rail');
  localStorage.setItem('rail', folded ? '1' : '');
  dispatchEvent(new Event('resize'));
}

if (app && !app.classList.contains('rail') && localStorage.getItem('rail')) {
  app.classList.add('rail');
}

// --- Trees: one tab stop, arrow keys inside ----------------------------------------------------

function toggleRow(row) {
  const wasOpen = row.getAttribute('aria-expanded') === 'true';
  const level = Number(row.getAttribute('aria-level'));
  row.setAttribute('aria-expanded', String(!wasOpen));
  let item = row.parentElement.nextElementSibling;
  while (item && Number(item.firstElementChild?.getAttribute('aria-level')) > level) {
    item.hidden = wasOpen;
    item = item.nextElementSibling;
  }
  row.dispatchEvent(new CustomEvent('tree:toggle', { bubbles: true, detail: !wasOpen }));
}

function moveFocus(from, to) {
  if (!to) return;
  if (from) from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function parentRow(rows, index) {
  const level = Number(rows[index].getAttribute('aria-level'));
  return rows.slice(0, index).reverse()
    .find(row => Number(row.getAttribute('aria-level')) < level);
}

function treeKey(event) {
  const tree = event.target.closest('[role=tree]');
  if (!tree || event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = all('.trow', tree).filter(row => !row.parentElement.hidden);
  const index = rows.indexOf(event.target.closest('.trow'));
  if (index < 0) return;
  const row = rows[index];
  const state = row.getAttribute('aria-expanded');
  const moves = {
    ArrowDown: () => moveFocus(row, rows[index + 1]),
    ArrowUp: () => moveFocus(row, rows[index - 1]),
    Home: () => moveFocus(row, rows[0]),
    End: () => moveFocus(row, rows.at(-1)),
    ArrowRight: () => (state === 'false' ? toggleRow(row) : moveFocus(row, rows[index + 1])),
    ArrowLeft: () => (state === 'true' ? toggleRow(row) : moveFocus(row, parentRow(rows, index))),
    Enter: () => (one('a[href]', row) || row).click(),
  };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  move();
}

// --- Panes of Explore on a narrow window -------------------------------------------------------

function showPane(button) {
  all('.ex > section').forEach(pane => {
    pane.classList.toggle('show', pane.id === button.dataset.pane);
  });
  all('[data-pane]').forEach(other => {
    other.setAttribute('aria-pressed', String(other === button));
  });
  dispatchEvent(new Event('resize'));
}

// --- Palette: every letter in order, best matches first ----------------------------------------

const palette = one('#palette');

function matches(words, text) {
  let from = 0;
  for (const letter of words) {
    from = text.indexOf(letter, from) + 1;
    if (!from) return false;
  }
  return true;
}

function filterPalette() {
  const input = one('input', palette);
  const words = input.value.toLowerCase().replace(/\s+/g, '');
  const options = all('[role=option]', palette);
  options.forEach(option => {
    option.hidden = !matches(words, option.textContent.toLowerCase());
  });
  all('[role=group]', palette).forEach(group => {
    group.hidden = !one('[role=option]:not([hidden])', group);
  });
  const shown = options.filter(option => !option.hidden);
  // An option that holds the words as typed goes before one that only has the letters in order.
  const exact = shown.find(option => option.textContent.toLowerCase().includes(input.value.toLowerCase()));
  selectOption(exact || shown[0]);
  one('.none', palette).hidden = shown.length > 0;
}

function selectOption(option) {
  all('[role=option]', palette).forEach(other => {
    other.setAttribute('aria-selected', String(other === option));
  });
  one('input', palette).setAttribute('aria-activedescendant', option ? option.id : '');
  option?.scrollIntoView({ block: 'nearest' });
}

function openPalette() {
  if (!palette || palette.open) return;
  palette.showModal();
  one('input', palette).value = '';
  filterPalette();
}

function paletteKey(event) {
  const shown = all('[role=option]:not([hidden])', palette);
  const index = shown.findIndex(option => option.getAttribute('aria-selected') === 'true');
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    selectOption(shown[(index + step + shown.length) % shown.length]);
  } else if (event.key === 'Enter') {
    event.preventDefault();
    shown[index]?.click();
  }
}

if (palette) {
  palette.addEventListener('input', filterPalette);
  palette.addEventListener('keydown', paletteKey);
}

// --- Toasts: six seconds, ten with an undo, kept while looked at; errors stay ------------------

function watchToast(toast) {
  let timer = 0;
  const start = () => { timer = setTimeout(() => toast.remove(), one('[data-undo]', toast) ? 10000 : 6000); };
  const stop = () => clearTimeout(timer);
  if (toast.getAttribute('role') === 'alert') return;
  for (const name of ['pointerenter', 'focusin']) toast.addEventListener(name, stop);
  for (const name of ['pointerleave', 'focusout']) toast.addEventListener(name, start);
  start();
}

all('.toast').forEach(watchToast);

// --- Jobs: the short list is asked for while its drawer is open --------------------------------

const drawer = one('#jobs-drawer');

function refreshDrawer() {
  if (!drawer.open) return;
  window.htmx?.trigger('#jobs-short', 'refresh');
  setTimeout(refreshDrawer, 2000);
}

function openDrawer() {
  if (drawer.open) return;
  drawer.showModal();
  refreshDrawer();
}

// --- Selections: the bar appears with the first box; without scripts it is always there --------

function countChosen(list) {
  const boxes = all('input[name=id]', list);
  const chosen = boxes.filter(box => box.checked).length;
  const bar = one('.selbar', list);
  const whole = one('[data-whole]', bar);
  const every = one('[data-every]', list);
  if (every) {
    every.checked = chosen > 0 && chosen === boxes.length;
    every.indeterminate = chosen > 0 && chosen < boxes.length;
  }
  bar.hidden = !chosen;
  if (whole && chosen < boxes.length) whole.checked = false;
  one('[data-count]', bar).textContent = whole?.checked ? whole.dataset.whole : chosen.toLocaleString('en');
}

all('[data-select]').forEach(list => {
  list.addEventListener('change', event => {
    if (event.target.matches('[data-every]')) {
      all('input[name=id]', list).forEach(box => { box.checked = event.target.checked; });
    }
    countChosen(list);
  });
  addEventListener('pageshow', () => countChosen(list));
  countChosen(list);
});

// --- Fold-outs: what a person opened stays open when the page around it is redrawn -------------

if (window.Idiomorph) {
  window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
    !(name === 'open' && node.matches('details.bystage'));
}

// --- Files: drop them anywhere on the marked area ----------------------------------------------

function showChosen(area) {
  const file = one('input[type=file]', area).files[0];
  const name = one('[data-chosen]', area);
  if (name && file) name.textContent = `${file.name} · ${(file.size / 1e6).toFixed(1)} MB`;
}

all('[data-drop]').forEach(area => {
  const input = one('input[type=file]', area);
  for (const name of ['dragenter', 'dragover']) {
    area.addEventListener(name, event => { event.preventDefault(); area.classList.add('over'); });
  }
  for (const name of ['dragleave', 'drop']) {
    area.addEventListener(name, () => area.classList.remove('over'));
  }
  area.addEventListener('drop', event => {
    event.preventDefault();
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    showChosen(area);
  });
  input.addEventListener('change', () => showChosen(area));
});

const idle = new Map(); // button -> what it said before its form was sent

// A form that was sent cannot be sent again; a page from the back button can.
document.addEventListener('submit', event => {
  const button = event.submitter;
  if (!button || !button.dataset.busy) return;
  idle.set(button, [...button.childNodes]);
  setTimeout(() => { button.disabled = true; button.textContent = button.dataset.busy; });
});

addEventListener('pageshow', event => {
  if (!event.persisted) return;
  idle.forEach((nodes, button) => {
    button.disabled = false;
    button.replaceChildren(...nodes);
  });
});

// A part of a page asked for again after a sign-out gets the sign-in page: keep what is shown.
document.addEventListener('htmx:beforeSwap', event => {
  if (new URL(event.detail.xhr.responseURL).pathname.startsWith('/sign-in/')) event.detail.shouldSwap = false;
});

// An answer about fields that were changed after it was asked for would undo what was typed. It is
// let go: leaving the field asks again.
const asked = new WeakMap();
const entered = form => new URLSearchParams(new FormData(form)).toString();

document.addEventListener('htmx:beforeRequest', event => {
  const {target, xhr} = event.detail;
  if (target instanceof HTMLFormElement) asked.set(xhr, entered(target));
});

document.addEventListener('htmx:beforeSwap', event => {
  const {target, xhr} = event.detail;
  if (asked.has(xhr) && asked.get(xhr) !== entered(target)) event.detail.shouldSwap = false;
});

// --- Clicks ------------------------------------------------------------------------------------

document.addEventListener('click', event => {
  const at = selector => event.target.closest(selector);
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey);
  const opener = plain && at('[data-open]');
  const layer = opener && one(`#${opener.dataset.open}`);
  if (layer) { // where it is not on the page, the link leads to a page of its own
    event.preventDefault();
    if (layer === palette) openPalette();
    else if (layer.id === 'jobs-drawer') openDrawer();
    else layer.showModal();
  }
  if (at('[data-theme-toggle]')) {
    event.preventDefault();
    setTheme(currentTheme() === 'dark' ? 'light' : 'dark');
  }
  if (at('[data-pane]')) showPane(at('[data-pane]'));
  if (at('.tw')) {
    event.preventDefault();
    toggleRow(at('.trow'));
  }
  at('[data-dismiss]')?.closest('.toast').remove();
  if (at('[data-copy]')) navigator.clipboard?.writeText(at('[data-copy]').dataset.copy);
  all('details.switcher[open]').forEach(menu => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});

// --- Keys --------------------------------------------------------------------------------------

let goes = 0; // when G was pressed

const singleKeys = {
  '?': () => one('#keys')?.showModal(),
  '/': () => { const field = one('[data-search]'); field ? field.focus() : openPalette(); },
  '[': () => app && foldSidebar(),
  g: () => { goes = Date.now(); },
};

function typing(element) {
  return element.closest('input, textarea, select, [contenteditable=true], dialog[open]');
}

function singleKey(event) {
  if (localStorage.getItem('keys') === 'off' || typing(event.target)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : '';
  const going = Date.now() - goes < 1500 && one(`[data-go="${CSS.escape(key)}"]`);
  const action = going ? () => going.click() : singleKeys[key];
  const button = !action && key && one(`[data-key="${CSS.escape(key)}"]`);
  if (!action && !button) return;
  event.preventDefault();
  if (button) button.click();
  else action();
}

document.addEventListener('keydown', event => {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    openPalette();
    return;
  }
  treeKey(event);
  if (event.key === 'Escape') all('details.switcher[open]').forEach(menu => { menu.open = false; });
  if (!event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.altKey) singleKey(event);
});

// The switch in the profile.
const keySwitch = one('#single-keys');
if (keySwitch) {
  keySwitch.checked = localStorage.getItem('keys') !== 'off';
  keySwitch.addEventListener('change', () => {
    localStorage.setItem('keys', keySwitch.checked ? 'on' : 'off');
  });
}

// After a refused form the summary has the focus, so that it is read and its links are next.
one('[data-focus]')?.focus();
