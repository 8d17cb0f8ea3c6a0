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

const rowById = (root, id) => root.querySelector(`#${CSS.escape(id)}`)?.firstElementChild;

// What the person did to the tree is kept: what is closed, where the tab stop is.
export function keepFolds(tree, fresh) {
  const levels = item => Number(item.firstElementChild.getAttribute('aria-level'));
  const items = [...fresh.children];
  const stop = [...tree.querySelectorAll('.trow')].find(row => row.tabIndex === 0);
  let closedAt = 0;
  for (const item of items) {
    if (closedAt && levels(item) > closedAt) { item.hidden = true; continue; }
    closedAt = 0;
    const before = rowById(tree, item.id);
    if (before?.getAttribute('aria-expanded') === 'false' && item.firstElementChild.hasAttribute('aria-expanded')) {
      item.firstElementChild.setAttribute('aria-expanded', 'false');
      closedAt = levels(item);
    }
  }
  const again = stop && rowById(fresh, stop.parentElement.id);
  if (again && !again.parentElement.hidden) {
    items.forEach(item => { item.firstElementChild.tabIndex = -1; });
    again.tabIndex = 0;
  }
}

// While somebody points at the tree nothing changes place: known rows keep their order, rows that
// are gone stay, faded, and new ones follow the row they came after.
export function keepOrder(tree, fresh) {
  const incoming = [...fresh.children];
  const byId = new Map(incoming.map(item => [item.id, item]));
  const known = [...tree.children].map(item => item.id);
  for (const item of tree.children) {
    if (byId.has(item.id)) continue;
    const gone = item.cloneNode(true);
    gone.firstElementChild.classList.add('gone');
    byId.set(item.id, gone);
  }
  const order = [...known];
  incoming.forEach((item, place) => {
    if (known.includes(item.id)) return;
    const before = place ? order.indexOf(incoming[place - 1].id) : -1;
    order.splice(before + 1, 0, item.id);
  });
  fresh.append(...order.map(id => byId.get(id)));
}

// A click anywhere on a row opens it.
document.addEventListener('click', event => {
  const row = event.target.closest('[role=tree] .trow');
  if (!row || event.target.closest('a, .tw')) return;
  row.querySelector('a[href]')?.click();
});
