// The tree of clusters. As served it is nested disclosure, which works without scripts; here it
// becomes one flat list with the tree pattern, whose keys app.js knows.

function rowOf(source, level, open) {
  const row = document.createElement('div');
  row.className = source.className;
  row.style.cssText = source.style.cssText;
  row.append(...source.childNodes);
  row.setAttribute('role', 'treeitem');
  row.setAttribute('aria-level', level);
  if (open !== null) row.setAttribute('aria-expanded', String(open));
  const link = row.querySelector('a');
  row.setAttribute('aria-selected', String(Boolean(link?.hasAttribute('aria-current'))));
  row.tabIndex = -1;
  if (link) link.tabIndex = -1;
  return row;
}

function flatten(list, level, out) {
  for (const item of [...list.children]) {
    const branch = item.querySelector(':scope > details');
    const flat = document.createElement('li');
    flat.id = item.id;
    flat.setAttribute('role', 'none');
    if (branch) {
      flat.append(rowOf(branch.querySelector(':scope > summary'), level, true));
      out.push(flat);
      flatten(branch.querySelector(':scope > ul'), level + 1, out);
    } else {
      flat.append(rowOf(item.firstElementChild, level, null));
      out.push(flat);
    }
  }
  return out;
}

export function upgradeTrees(root) {
  root.querySelectorAll('ul[data-tree]:not([role])').forEach(tree => {
    const items = flatten(tree, 1, []);
    tree.setAttribute('role', 'tree');
    tree.replaceChildren(...items);
    const rows = items.map(item => item.firstElementChild);
    const first = rows.find(row => row.getAttribute('aria-selected') === 'true') || rows[0];
    if (first) first.tabIndex = 0;
  });
}

const levelOf = item => Number(item.firstElementChild.getAttribute('aria-level'));
const rowById = (root, id) => root.querySelector(`#${CSS.escape(id)}`)?.firstElementChild;

// What the person did to the tree is kept: what is closed, where the tab stop is.
export function keepFolds(tree, fresh) {
  const items = [...fresh.children];
  const stop = [...tree.querySelectorAll('.trow')].find(row => row.tabIndex === 0);
  let closedAt = 0;
  for (const item of items) {
    if (closedAt && levelOf(item) > closedAt) { item.hidden = true; continue; }
    closedAt = 0;
    const before = rowById(tree, item.id);
    if (before?.getAttribute('aria-expanded') === 'false' && item.firstElementChild.hasAttribute('aria-expanded')) {
      item.firstElementChild.setAttribute('aria-expanded', 'false');
      closedAt = levelOf(item);
    }
  }
  const again = stop && rowById(fresh, stop.parentElement.id);
  if (again && !again.parentElement.hidden) {
    items.forEach(item => { item.firstElementChild.tabIndex = -1; });
    again.tabIndex = 0;
  }
}

// The flat list as what lies in what: id of the parent ('' at the top) -> items.
function nest(items) {
  const inside = new Map([['', []]]);
  const open = [];
  for (const item of items) {
    open.length = Math.min(open.length, levelOf(item) - 1);
    const parent = open.at(-1) || '';
    inside.set(item.id, []);
    inside.get(parent).push(item);
    open.push(item.id);
  }
  return inside;
}

// Known siblings in their old order; new ones follow the sibling they came after.
function likeBefore(items, places) {
  const order = items.filter(item => places.has(item.id)).sort((a, b) => places.get(a.id) - places.get(b.id));
  items.forEach((item, place) => {
    if (!places.has(item.id)) order.splice(place ? order.indexOf(items[place - 1]) + 1 : 0, 0, item);
  });
  return order;
}

// While somebody points at the tree nothing changes place: known rows keep their order inside what
// holds them, and rows that are gone stay, faded. With the focus alone inside, only the row that
// has it stays.
export function keepOrder(tree, fresh) {
  const places = new Map([...tree.children].map((item, place) => [item.id, place]));
  const inside = nest(fresh.children);
  for (const [parent, items] of nest(tree.children)) {
    for (const item of items) {
      if (inside.has(item.id) || !(tree.matches(':hover') || item.contains(document.activeElement))) continue;
      const gone = item.cloneNode(true);
      gone.firstElementChild.classList.add('gone');
      inside.set(gone.id, []);
      inside.get(inside.has(parent) ? parent : '').push(gone);
    }
  }
  const lay = id => likeBefore(inside.get(id), places).flatMap(item => [item, ...lay(item.id)]);
  fresh.replaceChildren(...lay(''));
}

// A click anywhere on a row opens it.
document.addEventListener('click', event => {
  const row = event.target.closest('[role=tree] .trow');
  if (!row || event.target.closest('a, .tw')) return;
  row.querySelector('a[href]')?.click();
});
