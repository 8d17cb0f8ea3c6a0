// The report's own script: draws the map, follows the list, opens everything for printing.
(function () {
  'use strict';

  const probe = document.createElement('i');
  probe.hidden = true;
  document.body.append(probe);

  // A token as the page shows it now: light-dark() is resolved by the browser, not by us.
  function colour(token) {
    probe.style.color = `var(${token})`;
    return getComputedStyle(probe).color;
  }

  function numbers(text) {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
  }

  const host = document.getElementById('map');
  const source = document.getElementById('map-data');
  const details = [...document.querySelectorAll('.nodes details')];

  const [NONE, REACH] = [0xffff, 9]; // the index of no cluster; pixels a pointer may be off
  const view = { zoom: 1, x: 0, y: 0 };
  let chosen = null; // keys of the cluster picked and all below it
  let frame = 0;
  let data, xy, groups, canvas, pen, size;

  function choose(key) {
    const row = details.find(part => part.dataset.key === String(key));
    const below = row ? [...row.querySelectorAll('details')] : [];
    chosen = key === null ? null : new Set([key, ...below.map(part => Number(part.dataset.key))]);
    details.forEach(part => part.classList.toggle('on', part === row));
    paint();
  }

  // --- Places -----------------------------------------------------------------------------------

  // Map units are [-1, 1] with y upwards, one scale for both axes.
  function scale() { return (Math.min(size.width, size.height) / 2 - 18) * view.zoom; }
  function toScreen(x, y) {
    return [size.width / 2 + (x - view.x) * scale(), size.height / 2 - (y - view.y) * scale()];
  }
  function dot(i) { return toScreen((xy[2 * i] / 65535) * 2 - 1, (xy[2 * i + 1] / 65535) * 2 - 1); }

  function zoomAt(factor, left, top) {
    const before = scale();
    view.zoom = Math.max(0.7, Math.min(60, view.zoom * factor));
    const grown = 1 / before - 1 / scale();
    view.x += (left - size.width / 2) * grown;
    view.y -= (top - size.height / 2) * grown;
    paint();
  }

  function move(dx, dy) {
    view.x -= dx / scale();
    view.y += dy / scale();
    paint();
  }

  function fit() { Object.assign(view, { zoom: 1, x: 0, y: 0 }); choose(null); }

  // --- Drawing ----------------------------------------------------------------------------------

  function paint() {
    if (data && !frame) frame = requestAnimationFrame(draw);
  }

  function draw() {
    frame = 0;
    const ratio = window.devicePixelRatio || 1;
    size = { width: host.clientWidth, height: host.clientHeight };
    Object.assign(canvas, { width: size.width * ratio, height: size.height * ratio });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const grey = colour('--idle-fill');
    const hues = data.clusters.map(cluster => colour(`--c${cluster.hue}`));
    const radius = Math.max(1, Math.min(4, (data.count > 8000 ? 1.2 : 1.9) * Math.sqrt(view.zoom)));
    // Grey first, so that what was chosen lies on top.
    const lit = i => groups[i] !== NONE && (!chosen || chosen.has(data.clusters[groups[i]].key));
    for (const pass of [false, true]) {
      pen.globalAlpha = pass ? 0.72 : 0.4;
      for (let i = 0; i < data.count; i++) {
        if (lit(i) !== pass) continue;
        const [left, top] = dot(i);
        if (left < -4 || top < -4 || left > size.width + 4 || top > size.height + 4) continue;
        pen.fillStyle = pass ? hues[groups[i]] : grey;
        pen.beginPath();
        pen.arc(left, top, radius, 0, 7);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    labels();
  }

  function wrap(text) {
    const words = text.length > 60 ? `${text.slice(0, 58)}…`.split(' ') : text.split(' ');
    const lines = [''];
    for (const word of words) {
      const last = lines.pop();
      lines.push(...(last && (last + word).length > 22 ? [last, word] : [`${last} ${word}`.trim()]));
    }
    return lines.slice(0, 3);
  }

  function labels() {
    const used = [];
    const wanted = data.clusters.filter(cluster => cluster.x !== null && (cluster.level === 1
      || view.zoom > 1.8 || (chosen && chosen.has(cluster.key))));
    const first = cluster => (chosen && chosen.has(cluster.key) ? 0 : 1) * 10 + cluster.level;
    wanted.sort((a, b) => first(a) - first(b) || b.size - a.size);
    pen.textAlign = 'center';
    pen.lineJoin = 'round';
    pen.lineWidth = 4;
    pen.strokeStyle = colour('--surface');
    const [strong, faint] = [colour('--text'), colour('--text-3')];
    for (const cluster of wanted) {
      pen.font = `${cluster.level === 1 ? 600 : 500} ${cluster.level === 1 ? 12.5 : 11.5}px Inter,system-ui,sans-serif`;
      const lines = wrap(cluster.name);
      const wide = Math.max(...lines.map(line => pen.measureText(line).width)) / 2 + 4;
      const high = lines.length * 7.5;
      let [left, top] = toScreen(cluster.x, cluster.y);
      if (left < 0 || top < 0 || left > size.width || top > size.height) continue;
      left = Math.max(wide, Math.min(size.width - wide, left));
      // A theme's label moves a little rather than not being there.
      const tries = cluster.level === 1 ? [0, 26, -26, 48, -48] : [0];
      const boxes = tries.map(by => Math.max(high, Math.min(size.height - high, top + by)))
        .map(middle => [left - wide, middle - high, left + wide, middle + high]);
      const box = boxes.find(a => !used.some(b => b[0] < a[2] && a[0] < b[2] && b[1] < a[3] && a[1] < b[3]));
      if (!box) continue;
      used.push(box);
      top = box[1] + high;
      pen.fillStyle = !chosen || chosen.has(cluster.key) ? strong : faint;
      lines.forEach((line, i) => {
        pen.strokeText(line, left, top - high + 11.5 + 15 * i);
        pen.fillText(line, left, top - high + 11.5 + 15 * i);
      });
    }
  }

  // --- Input ------------------------------------------------------------------------------------

  function place(event) {
    const box = host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function nearest(left, top) {
    let [best, reach] = [-1, REACH * REACH];
    for (let i = 0; i < data.count; i++) {
      const [x, y] = dot(i);
      const far = (x - left) ** 2 + (y - top) ** 2;
      if (far < reach) { reach = far; best = i; }
    }
    return best;
  }

  function hover(event) {
    const tip = host.querySelector('.tip');
    const [left, top] = place(event);
    const i = event.target.closest('button') ? -1 : nearest(left, top);
    tip.hidden = i < 0;
    if (i < 0) return;
    const cluster = data.clusters[groups[i]];
    const name = document.createElement('b');
    name.textContent = cluster ? cluster.name : 'In no cluster that can be shown';
    const theme = document.createElement('span');
    if (cluster && cluster.level > 1) theme.textContent = cluster.theme;
    tip.replaceChildren(name, theme);
    tip.style.left = `${Math.max(6, Math.min(size.width - tip.offsetWidth - 6, left + 12))}px`;
    tip.style.top = `${top > size.height / 2 ? top - tip.offsetHeight - 12 : top + 14}px`;
  }

  function listen() {
    const held = new Map();
    let moved = 0;
    host.addEventListener('pointerdown', event => {
      if (event.target.closest('button')) return;
      held.set(event.pointerId, place(event));
      host.setPointerCapture(event.pointerId);
      moved = 0;
    });
    host.addEventListener('pointermove', event => {
      const before = held.get(event.pointerId);
      if (!before) { hover(event); return; }
      const now = place(event);
      const other = [...held].find(([id]) => id !== event.pointerId);
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (other) {
        const gap = at => Math.hypot(at[0] - other[1][0], at[1] - other[1][1]) || 1;
        zoomAt(gap(now) / gap(before), (now[0] + other[1][0]) / 2, (now[1] + other[1][1]) / 2);
      } else move(now[0] - before[0], now[1] - before[1]);
      held.set(event.pointerId, now);
    });
    const end = event => {
      if (!held.delete(event.pointerId) || event.type !== 'pointerup' || moved > 5) return;
      const i = nearest(...place(event));
      choose(i < 0 || groups[i] === NONE ? null : data.clusters[groups[i]].key);
    };
    host.addEventListener('pointerup', end);
    host.addEventListener('pointercancel', end);
    host.addEventListener('pointerleave', () => { host.querySelector('.tip').hidden = true; });
    host.addEventListener('wheel', event => {
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY * 0.0018), ...place(event));
    }, { passive: false });
    host.addEventListener('keydown', event => {
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      const zoom = { '+': 1.3, '=': 1.3, '-': 1 / 1.3 }[event.key];
      if (step) move(...step);
      else if (zoom) zoomAt(zoom, size.width / 2, size.height / 2);
      else if (event.key === '0' || event.key === 'Escape') fit();
      else return;
      event.preventDefault();
    });
    host.querySelectorAll('[data-zoom]').forEach(button => button.addEventListener('click', () => {
      const factor = Number(button.dataset.zoom);
      if (factor) zoomAt(factor, size.width / 2, size.height / 2); else fit();
    }));
    details.forEach(part => part.firstElementChild.addEventListener('click', () => choose(Number(part.dataset.key))));
    new ResizeObserver(paint).observe(host);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint);
    document.fonts.ready.then(paint);
  }

  if (host && source) {
    data = JSON.parse(source.textContent);
    [xy, groups] = [numbers(data.xy), numbers(data.groups)];
    canvas = host.querySelector('canvas');
    pen = canvas.getContext('2d');
    listen();
    draw();
  }

  // Paper is white and cannot be opened.
  let closed = [];
  window.addEventListener('beforeprint', () => {
    closed = details.filter(part => !part.open);
    closed.forEach(part => { part.open = true; });
    document.documentElement.dataset.theme = 'light';
    if (data) draw();
  });
  window.addEventListener('afterprint', () => {
    closed.forEach(part => { part.open = false; });
    delete document.documentElement.dataset.theme;
    paint();
  });
}());
