// Hands on the map: drag, wheel, pinch, keys, hover, click and lasso.

const CLICK = 5; // pixels a pointer may stray and still have clicked
const STEP = 60; // pixels an arrow key moves
const NOT_MAP = 'button, a, .key, .picked';

export function bindInput(map) {
  const { host } = map;
  const held = new Map(); // pointers that are down, with their last place
  let moved = 0;
  let hovering = 0;

  const at = event => {
    const box = host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  function pinch(id, now) {
    const other = [...held].find(([key]) => key !== id)[1];
    const gap = place => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    map.zoom(gap(now) / gap(held.get(id)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  function hover(event, place) {
    if (!map.onHover || event.pointerType === 'touch' || hovering) return;
    if (event.target.closest(NOT_MAP)) { map.onHover(-1); return; }
    hovering = requestAnimationFrame(() => {
      hovering = 0;
      map.onHover(map.nearest(...place), ...place);
    });
  }

  function down(event) {
    if (event.target.closest(NOT_MAP)) return;
    held.set(event.pointerId, at(event));
    host.setPointerCapture(event.pointerId);
    moved = 0;
    if (map.mode === 'lasso') map.lasso = [];
  }

  function move(event) {
    const now = at(event);
    const before = held.get(event.pointerId);
    if (!before) { hover(event, now); return; }
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (held.size === 2) pinch(event.pointerId, now);
    else if (map.mode === 'lasso') { map.lasso.push(map.toMap(...now)); map.paint(true); }
    else map.move(now[0] - before[0], now[1] - before[1]);
    held.set(event.pointerId, now);
  }

  function up(event) {
    if (!held.delete(event.pointerId) || held.size) return;
    if (map.mode === 'lasso') { if (map.lasso?.length > 2) map.onLasso?.(map.inside()); return; }
    if (event.type !== 'pointerup' || moved >= CLICK) return;
    const found = map.nearest(...at(event));
    if (found >= 0) map.onPick?.(found);
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== host) return;
    const step = {
      ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP],
    }[event.key];
    const zoom = { '+': 1.3, '=': 1.3, '-': 1 / 1.3 }[event.key];
    if (step) map.move(...step);
    else if (zoom) map.zoom(zoom);
    else if (event.key === '0') map.fit();
    else return;
    event.preventDefault();
  }

  host.addEventListener('pointerdown', down);
  host.addEventListener('pointermove', move);
  host.addEventListener('pointerup', up);
  host.addEventListener('pointercancel', up);
  host.addEventListener('pointerleave', () => map.onHover?.(-1));
  host.addEventListener('keydown', key);
  host.addEventListener('wheel', event => {
    event.preventDefault();
    map.zoom(Math.exp(-event.deltaY * 0.0018), ...at(event));
  }, { passive: false });
}
