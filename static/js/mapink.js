// What the map draws with: soft discs, labels that do not overlap, the outline of a lasso.

// --- Pixels ----------------------------------------------------------------------------------

export function pack([red, green, blue]) {
  return ((0xff << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

// Offsets and strengths of the pixels of a soft disc.
export function discOf(radius, width) {
  const reach = Math.ceil(radius + 0.5);
  const offsets = [];
  const strengths = [];
  for (let j = -reach; j <= reach; j++) {
    for (let i = -reach; i <= reach; i++) {
      const cover = Math.max(0, Math.min(1, radius - Math.hypot(i, j) + 0.5));
      const strength = Math.round(255 * cover * 0.66);
      if (strength) { offsets.push(j * width + i); strengths.push(strength); }
    }
  }
  return { reach, offsets, strengths };
}

export function blend(pixels, place, disc, [red, green, blue]) {
  for (let u = 0; u < disc.offsets.length; u++) {
    const at = place + disc.offsets[u];
    const a = disc.strengths[u];
    const b = 255 - a;
    const old = pixels[at];
    pixels[at] = ((0xff << 24)
      | ((((old >> 16) & 255) * b + blue * a) >> 8 << 16)
      | ((((old >> 8) & 255) * b + green * a) >> 8 << 8)
      | (((old & 255) * b + red * a) >> 8)) >>> 0;
  }
}

// A long label in two lines of about the same length.
function wrap(label) {
  if (label.length <= 21) return [label];
  const words = label.split(' ');
  if (words.length < 2) return [label.slice(0, 26)];
  const lines = at => [words.slice(0, at).join(' '), words.slice(at).join(' ')];
  const skew = at => Math.abs(lines(at)[0].length - lines(at)[1].length);
  let best = 1;
  for (let at = 2; at < words.length; at++) if (skew(at) < skew(best)) best = at;
  return lines(best).map(line => (line.length > 30 ? `${line.slice(0, 29)}…` : line));
}

// --- Where a label goes ----------------------------------------------------------------------

const ISLAND = 26; // pixels
export const GRID = 24; // squares along each side of the map

export const gridLine = value => Math.max(0, Math.min(GRID - 1, Math.floor(((value + 1) / 2) * GRID)));

// Whether two squares touch.
export function near(one, other) {
  return Math.abs((one % GRID) - (other % GRID)) <= 1
    && Math.abs(Math.floor(one / GRID) - Math.floor(other / GRID)) <= 1;
}

// The square that, with its neighbours, holds the most; the middle counts twice.
export function fullest(counts) {
  let best = 0;
  let most = -1;
  for (let at = 0; at < counts.length; at++) {
    if (!counts[at]) continue;
    const [row, column] = [Math.floor(at / GRID), at % GRID];
    let sum = counts[at];
    for (let j = Math.max(0, row - 1); j <= Math.min(GRID - 1, row + 1); j++) {
      for (let i = Math.max(0, column - 1); i <= Math.min(GRID - 1, column + 1); i++) sum += counts[j * GRID + i];
    }
    if (sum > most) { most = sum; best = at; }
  }
  return best;
}

// --- Labels ----------------------------------------------------------------------------------

function labelled(map) {
  const shown = (cluster, place) => cluster.at && cluster.label && (cluster.level === 1
    || map.view.zoom > 1.7 || map.selected?.has(place));
  const first = cluster => (cluster.key === map.selectedKey ? 0 : cluster.level);
  return map.clusters.filter(shown).sort((a, b) => first(a) - first(b) || b.size - a.size);
}

// Where a label goes: its lines, the middle of its box, and the box itself.
function boxOf(map, cluster, lines) {
  const [x, middle] = map.toScreen(...cluster.at);
  const spread = cluster.spread * map.scale * map.view.zoom;
  // Over a small island a label would hide the dots it names, so it stands above them.
  const y = spread < ISLAND ? middle - spread - 7.5 * lines.length - 4 : middle;
  if (x < 10 || y < 10 || x > map.width - 10 || y > map.height - 10) return null;
  const wide = Math.max(...lines.map(line => map.pen.measureText(line).width)) / 2;
  const high = (lines.length * 15) / 2;
  const left = Math.max(wide + 6, Math.min(map.width - wide - 6, x));
  const top = Math.max(high + 6, Math.min(map.height - high - 6, y));
  return { left, top, high, box: [left - wide - 5, top - high - 2, left + wide + 5, top + high + 2] };
}

const overlap = (a, b) => a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];

export function drawLabels(map) {
  const { pen } = map;
  const used = [];
  pen.textAlign = 'center';
  pen.lineJoin = 'round';
  pen.lineWidth = 4;
  for (const cluster of labelled(map)) {
    const theme = cluster.level === 1;
    pen.font = `${theme ? 600 : 500} ${theme ? 12.5 : 11.5}px Inter,system-ui,sans-serif`;
    const lines = wrap(cluster.label);
    const place = boxOf(map, cluster, lines);
    if (!place || used.some(other => overlap(place.box, other))) continue;
    used.push(place.box);
    const on = !map.selected || cluster.theme === map.selectedTheme;
    pen.strokeStyle = `rgb(${map.token('--surface')})`;
    pen.fillStyle = `rgb(${map.token(on ? '--text' : '--text-3')})`;
    lines.forEach((line, i) => {
      const base = place.top - place.high + 11.5 + i * 15;
      pen.strokeText(line, place.left, base);
      pen.fillText(line, place.left, base);
    });
  }
}

export function drawLasso(map) {
  const { pen } = map;
  const accent = map.token('--accent').join(' ');
  pen.beginPath();
  map.lasso.forEach(([x, y]) => pen.lineTo(...map.toScreen(x, y)));
  pen.closePath();
  pen.fillStyle = `rgb(${accent} / .1)`;
  pen.fill();
  pen.strokeStyle = `rgb(${accent})`;
  pen.lineWidth = 1.75;
  pen.setLineDash([5, 4]);
  pen.stroke();
  pen.setLineDash([]);
}
