// The map of conversations: one small canvas renderer. While the view moves it writes single
// pixels (fast, no graphics card needed); when it rests it repaints with soft discs in 10 ms
// slices. Labels and the lasso lie on a canvas of their own, drawn only when they change.

import { bindInput } from './mapinput.js';
import { GRID, blend, discOf, drawLabels, drawLasso, fullest, gridLine, near, pack } from './mapink.js';

const NONE = 0xffff; // no cluster, or a withheld one
const HUES = 10;
const SLICE = 10; // milliseconds of painting before the page gets its turn
const MIN_ZOOM = 0.6;
const MAX_ZOOM = 60;
const FLAT = 0.8; // height of a map unit against its width
const REACH = 9; // pixels within which a dot is under the pointer
const CORNERS = 60; // of a lasso in an address

export class ClioMap {
  constructor(host, { onHover, onPick, onLasso } = {}) {
    Object.assign(this, { host, onHover, onPick, onLasso });
    this.clusters = [];
    this.count = 0;
    this.view = { x: 0, y: 0, zoom: 1 };
    this.mode = 'pan';
    this.lasso = null;
    this.selected = null; // set of cluster indices, or null
    this.selectedTheme = null;
    this.colourCache = new Map();
    this.canvas = this.addCanvas();
    this.ink = this.addCanvas();
    this.paper = this.canvas.getContext('2d');
    this.pen = this.ink.getContext('2d');
    new ResizeObserver(() => this.size()).observe(host);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.recolour());
    new MutationObserver(() => this.recolour())
      .observe(document.documentElement, { attributeFilter: ['data-theme'] });
    document.fonts?.ready.then(() => this.paint());
    bindInput(this);
    this.size();
  }

  addCanvas() {
    const canvas = document.createElement('canvas');
    canvas.setAttribute('aria-hidden', 'true');
    const last = this.host.querySelectorAll('canvas');
    if (last.length) last[last.length - 1].after(canvas);
    else this.host.prepend(canvas);
    return canvas;
  }

  // --- Data -----------------------------------------------------------------------------------

  setData(clusters, points) {
    this.clusters = clusters;
    Object.assign(this, points); // x, y, k, positions, count
    this.children = clusters.map(() => []);
    const index = new Map(clusters.map((cluster, place) => [cluster.key, place]));
    clusters.forEach((cluster, place) => {
      if (index.has(cluster.parent)) this.children[index.get(cluster.parent)].push(place);
    });
    this.index = index;
    this.placeLabels();
    this.select(this.selectedKey ?? null);
    if (!this.fitted && this.count) { this.fitted = true; this.fit(); }
  }

  // A label stands where most of its dots are: the middle of the dots in the fullest of the
  // squares that a coarse grid makes. A theme in two places is named in the larger one.
  placeLabels() {
    const counts = this.clusters.map(() => new Uint32Array(GRID * GRID));
    const square = i => gridLine(this.y[i]) * GRID + gridLine(this.x[i]);
    const up = this.clusters.map(cluster => this.index.get(cluster.parent));
    for (let i = 0; i < this.count; i++) {
      for (let place = this.k[i]; place !== undefined && place !== NONE; place = up[place]) counts[place][square(i)] += 1;
    }
    const best = counts.map(fullest);
    const sums = this.clusters.map(() => [0, 0, 0, 0]);
    for (let i = 0; i < this.count; i++) {
      for (let place = this.k[i]; place !== undefined && place !== NONE; place = up[place]) {
        if (!near(square(i), best[place])) continue;
        sums[place][0] += this.x[i];
        sums[place][1] += this.y[i];
        sums[place][2] += 1;
        sums[place][3] += this.x[i] ** 2 + this.y[i] ** 2;
      }
    }
    this.clusters.forEach((cluster, place) => {
      const [x, y, n, squares] = sums[place];
      cluster.at = n ? [x / n, y / n] : null;
      cluster.spread = n ? Math.sqrt(Math.max(0, squares / n - (x / n) ** 2 - (y / n) ** 2)) : 0;
    });
  }

  select(key) {
    this.selectedKey = key;
    const place = this.index?.get(key);
    this.selected = null;
    this.selectedTheme = null;
    if (place !== undefined) {
      this.selected = new Set();
      const add = one => { this.selected.add(one); this.children[one].forEach(add); };
      add(place);
      this.selectedTheme = this.clusters[place].theme;
    }
    this.stamp = '';
    this.paint();
  }

  // --- Geometry -------------------------------------------------------------------------------

  size() {
    this.width = this.host.clientWidth;
    this.height = this.host.clientHeight;
    this.dpr = Math.min(2, devicePixelRatio || 1);
    this.scale = (Math.min(this.width, this.height / FLAT) / 2) * 0.94;
    this.paint();
  }

  toScreen(x, y) {
    const scale = this.scale * this.view.zoom;
    return [
      (x - this.view.x) * scale + this.width / 2,
      this.height / 2 - (y - this.view.y) * scale * FLAT,
    ];
  }

  toMap(left, top) {
    const scale = this.scale * this.view.zoom;
    return [
      (left - this.width / 2) / scale + this.view.x,
      (this.height / 2 - top) / (scale * FLAT) + this.view.y,
    ];
  }

  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toMap(left, top);
    this.view.zoom = Math.max(MIN_ZOOM, Math.min(MAX_ZOOM, this.view.zoom * factor));
    const [newX, newY] = this.toMap(left, top);
    this.view.x += x - newX;
    this.view.y += y - newY;
    this.paint(true);
  }

  move(dx, dy) {
    const scale = this.scale * this.view.zoom;
    this.view.x -= dx / scale;
    this.view.y += dy / (scale * FLAT);
    this.paint(true);
  }

  fit() {
    this.frameOf(() => true, 1.9, 1.6);
  }

  // Move to the selection, so that its surroundings stay in sight.
  showSelection() {
    if (this.selected) this.frameOf(i => this.selected.has(this.k[i]), 0.8, 3);
    else this.fit();
  }

  // Centre the dots that pass; `part` is how much of the view's two units they fill.
  frameOf(passes, part, most) {
    let [left, right, low, high] = [9, -9, 9, -9];
    for (let i = 0; i < this.count; i++) {
      if (!passes(i)) continue;
      left = Math.min(left, this.x[i]);
      right = Math.max(right, this.x[i]);
      low = Math.min(low, this.y[i]);
      high = Math.max(high, this.y[i]);
    }
    const known = right >= left;
    const span = known ? Math.max(right - left, high - low, 0.1) : 2;
    const zoom = Math.min(most, Math.max(1, part / span));
    this.view = { x: known ? (left + right) / 2 : 0, y: known ? (low + high) / 2 : 0, zoom };
    this.paint();
  }

  nearest(left, top) {
    const scale = this.scale * this.view.zoom;
    const [x, y] = this.toMap(left, top);
    let found = -1;
    let best = (REACH / scale) ** 2;
    for (let i = 0; i < this.count; i++) {
      const dx = this.x[i] - x;
      const dy = (this.y[i] - y) * FLAT;
      const distance = dx * dx + dy * dy;
      if (distance < best) { best = distance; found = i; }
    }
    return found;
  }

  // --- Colour ---------------------------------------------------------------------------------

  recolour() {
    this.colourCache.clear();
    this.stamp = '';
    this.paint();
  }

  // A design token as red, green, blue.
  token(name) {
    if (!this.colourCache.has(name)) {
      this.probe ||= this.host.appendChild(Object.assign(document.createElement('i'), { hidden: true }));
      this.probe.style.color = `var(${name})`;
      const parts = getComputedStyle(this.probe).color.match(/[\d.]+/g);
      this.colourCache.set(name, parts.slice(0, 3).map(Number));
    }
    return this.colourCache.get(name);
  }

  // The selection keeps its hue, its theme gets a tint, everything else stays as grey context.
  palette() {
    const ground = this.token('--surface');
    const grey = this.token('--line');
    const colours = this.clusters.map((cluster, place) => {
      const hue = this.token(`--c${Math.min(HUES, cluster.hue)}`);
      if (!this.selected || this.selected.has(place)) return hue;
      if (cluster.theme !== this.selectedTheme) return grey;
      return hue.map((value, i) => value * 0.45 + ground[i] * 0.55);
    });
    const none = this.selected ? grey : this.token('--idle-fill');
    return { ground, colours, none };
  }

  // --- Painting -------------------------------------------------------------------------------

  paint(fast) {
    if (fast) this.fast = true;
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  draw() {
    const { fast } = this;
    this.fast = false;
    const dpr = fast ? 1 : this.dpr;
    const width = Math.round(this.width * dpr);
    const height = Math.round(this.height * dpr);
    if (!width || !height) return;
    const { ground, colours, none } = this.palette();
    const stamp = [this.view.x, this.view.y, this.view.zoom, width, height, fast, ground, this.selectedKey, this.version].join();
    const image = this.imageFor(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    if (stamp !== this.stamp) {
      this.stamp = stamp;
      this.at = 0;
      this.began = true;
      pixels.fill(pack(ground));
    }
    this.at = this.dots(pixels, width, height, dpr, fast, colours, none);
    const passes = this.selected ? 2 : 1;
    const done = this.at >= passes * this.count;
    if (done || !this.began) this.show(image, width, height);
    this.labels();
    if (!done) this.paint();
    if (fast) {
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.paint(), 120);
    }
  }

  imageFor(width, height) {
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = this.paper.createImageData(width, height);
      this.stamp = '';
    }
    return this.image;
  }

  show(image, width, height) {
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.paper.putImageData(image, 0, 0);
    this.began = false;
  }

  // Paints from where it stopped; with a selection in two passes, so that it lies on top.
  dots(pixels, width, height, dpr, fast, colours, none) {
    const disc = discOf(this.radius() * dpr, width);
    const scaleX = this.scale * this.view.zoom * dpr;
    const scaleY = scaleX * FLAT;
    const left = width / 2 - this.view.x * scaleX;
    const top = height / 2 + this.view.y * scaleY;
    const edge = disc.reach + 1;
    const total = this.count * (this.selected ? 2 : 1);
    const start = performance.now();
    let t = this.at;
    for (; t < total; t++) {
      if (!fast && (t & 4095) === 4095 && performance.now() - start > SLICE) break;
      const second = t >= this.count;
      const i = second ? t - this.count : t;
      const k = this.k[i];
      if (this.selected && this.selected.has(k) !== second) continue;
      const x = (this.x[i] * scaleX + left) | 0;
      const y = (top - this.y[i] * scaleY) | 0;
      if (x < edge || y < edge || x >= width - edge || y >= height - edge) continue;
      const colour = k === NONE ? none : colours[k];
      const place = y * width + x;
      if (fast) {
        pixels[place] = pixels[place + 1] = pixels[place + width] = pixels[place + width + 1] = pack(colour);
      } else {
        blend(pixels, place, disc, colour);
      }
    }
    return t;
  }

  radius() {
    const base = this.count > 2e5 ? 0.8 : this.count > 3e4 ? 1.15 : this.count > 9e3 ? 1.5 : this.count > 1500 ? 2.2 : 3;
    return base * Math.min(2, Math.sqrt(this.view.zoom));
  }

  // --- Labels and lasso -----------------------------------------------------------------------

  labels() {
    const stamp = [this.view.x, this.view.y, this.view.zoom, this.width, this.height, this.selectedKey, this.version, this.token('--text'), this.lasso?.length, document.fonts?.status].join();
    if (stamp === this.inkStamp) return;
    this.inkStamp = stamp;
    this.ink.width = this.width * this.dpr;
    this.ink.height = this.height * this.dpr;
    this.pen.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    drawLabels(this);
    if (this.lasso?.length > 1) drawLasso(this);
  }

  // Which dots lie inside the lasso: one filled shape, then a look-up for each dot.
  inside() {
    const side = 1024;
    const mask = new OffscreenCanvas(side, side).getContext('2d', { willReadFrequently: true });
    const place = value => ((value + 1.5) / 3) * side;
    mask.beginPath();
    this.lasso.forEach(([x, y]) => mask.lineTo(place(x), place(y)));
    mask.fill('evenodd');
    const { data } = mask.getImageData(0, 0, side, side);
    const found = [];
    for (let i = 0; i < this.count; i++) {
      const row = place(this.y[i]) | 0;
      if (data[(row * side + (place(this.x[i]) | 0)) * 4 + 3] > 127) found.push(i);
    }
    return found;
  }

  // The lasso as an address carries it: whole thousandths from -1.5, at most 60 corners.
  lassoText() {
    const step = Math.max(1, Math.ceil(this.lasso.length / CORNERS));
    const part = value => Math.round((Math.max(-1.5, Math.min(1.5, value)) + 1.5) * 1000);
    return this.lasso.filter((_, i) => i % step === 0).map(([x, y]) => `${part(x)}.${part(y)}`).join('_');
  }

  setLasso(text) {
    const corner = pair => pair.split('.').map(value => Number(value) / 1000 - 1.5);
    this.lasso = text ? text.split('_').map(corner) : null;
    this.paint();
  }
}
