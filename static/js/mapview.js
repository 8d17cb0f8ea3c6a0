// A map on a page: fetches its numbers, wires its buttons, shows cards and what a lasso holds.

import { ClioMap } from './map.js';

const HEADER = 16;
const FEW = 50;
const CARD_DELAY = 70;

async function points(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`map ${answer.status}`);
  const buffer = await answer.arrayBuffer();
  const head = new DataView(buffer);
  if (head.getUint32(0, false) !== 0x4f434d31) throw new Error('not a map'); // "OCM1"
  const count = head.getUint32(4, true);
  const xy = new Uint16Array(buffer, HEADER, count * 2);
  const x = new Float32Array(count);
  const y = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    x[i] = (xy[2 * i] / 65535) * 2 - 1;
    y[i] = (xy[2 * i + 1] / 65535) * 2 - 1;
  }
  const k = new Uint16Array(buffer, HEADER + count * 4, count);
  // Copied, because positions need not begin at a multiple of four bytes.
  const positions = new Uint32Array(buffer.slice(HEADER + count * 6));
  return { x, y, k, positions, count };
}

async function groups(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`clusters ${answer.status}`);
  return (await answer.json()).clusters;
}

export class MapView {
  constructor(host, options = {}) {
    this.host = host;
    this.options = options;
    this.tip = host.querySelector('.tip');
    this.cards = new Map();
    this.map = new ClioMap(host, {
      onHover: (i, x, y) => this.hover(i, x, y),
      onPick: i => options.onPick?.(this.map.positions[i], this.clusterOf(i)),
      onLasso: found => this.lassoed(found),
    });
    host.querySelectorAll('[data-zoom]').forEach(button => button.addEventListener('click', () => {
      const factor = Number(button.dataset.zoom);
      if (factor) this.map.zoom(factor);
      else this.map.fit();
    }));
    host.querySelectorAll('[data-mode]').forEach(button => button.addEventListener('click', () => {
      this.setMode(this.map.mode === 'lasso' ? 'pan' : button.dataset.mode);
    }));
  }

  clusterOf(i) {
    const cluster = this.map.clusters[this.map.k[i]];
    return cluster ? cluster.key : null;
  }

  setMode(mode) {
    this.map.mode = mode;
    this.host.querySelectorAll('[data-mode]').forEach(button => {
      button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
    });
    // On the host it only styles; the buttons above are inside it.
    this.host.classList.toggle('lassoing', mode === 'lasso');
  }

  async load(version) {
    const { points: url, clusters } = this.host.dataset;
    this.host.dataset.version = version;
    if (!Number(version)) { this.say('No map yet', 'It is drawn after about 50 conversations.'); return; }
    const found = await Promise.all([points(`${url}?v=${version}`), groups(clusters)]).catch(() => null);
    if (this.host.dataset.version !== String(version)) return; // a newer one is on its way
    if (!found) {
      this.say('The map could not be drawn', 'The list of clusters holds the same information.');
      return;
    }
    const [dots, list] = found;
    if (dots.count < FEW) {
      this.say('Too few for a map', 'Under 50 conversations the list says more.');
      return;
    }
    this.say('', '');
    this.map.version = version;
    this.map.setData(list, dots);
    this.options.onLoad?.(this.map);
  }

  say(title, text) {
    const box = this.host.querySelector('.map-none');
    if (!box) return;
    box.hidden = !title;
    box.querySelector('h3').textContent = title;
    box.querySelector('p').textContent = text;
    this.host.querySelectorAll('canvas, .tools, .key').forEach(part => { part.hidden = Boolean(title); });
  }

  // --- Cards ----------------------------------------------------------------------------------

  hover(i, x, y) {
    clearTimeout(this.wait);
    this.hovered = i;
    this.host.toggleAttribute('data-hover', i >= 0);
    if (i < 0) { this.tip.hidden = true; return; }
    this.wait = setTimeout(() => this.card(i, x, y), CARD_DELAY);
  }

  async card(i, x, y) {
    const position = this.map.positions[i];
    if (!this.cards.has(position)) {
      const answer = await fetch(this.host.dataset.card.replace('/0/', `/${position}/`));
      if (!answer.ok) return;
      this.cards.set(position, await answer.json());
    }
    if (this.hovered !== i) return;
    const { title, text } = this.cards.get(position);
    const cluster = this.map.clusters[this.map.k[i]];
    const parts = [['b', title], ['span', text]];
    if (cluster) parts.push(['span', `\n${cluster.label}`]);
    this.tip.replaceChildren(...parts.map(([name, words]) => {
      const part = document.createElement(name);
      part.textContent = words;
      return part;
    }));
    this.tip.hidden = false;
    const left = Math.max(8, Math.min(this.map.width - this.tip.offsetWidth - 8, x - this.tip.offsetWidth / 2));
    const above = y - this.tip.offsetHeight - 14;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${above > 8 ? above : y + 16}px`;
  }

  // --- Lasso ----------------------------------------------------------------------------------

  lassoed(found) {
    this.setMode('pan');
    this.bar?.remove();
    if (!found.length) { this.clearLasso(); return; }
    const counts = new Map();
    found.forEach(i => counts.set(this.map.k[i], (counts.get(this.map.k[i]) || 0) + 1));
    const top = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 2)
      .map(([k]) => this.map.clusters[k]?.label).filter(Boolean);
    this.bar = document.createElement('div');
    this.bar.className = 'picked';
    this.bar.setAttribute('role', 'status');
    this.bar.append(
      named('b', `${found.length.toLocaleString('en')} selected`),
      named('span', top.length ? `mostly ${top.join(', ')}` : '', 'mut'),
      this.button('Show as list', 'btn s pri', () => {
        const text = this.map.lassoText();
        this.bar.remove();
        this.options.onLasso?.(text);
      }),
      this.button('Clear', 'btn s', () => this.clearLasso()),
    );
    this.host.append(this.bar);
  }

  clearLasso() {
    this.bar?.remove();
    this.map.setLasso('');
    this.options.onLasso?.('');
  }

  button(text, classes, act) {
    const button = named('button', text, classes);
    button.type = 'button';
    button.addEventListener('click', act);
    return button;
  }
}

function named(name, text, classes = '') {
  const part = document.createElement(name);
  part.textContent = text;
  part.className = classes;
  return part;
}
