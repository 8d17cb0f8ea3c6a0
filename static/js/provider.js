// One provider: searching its list of models, and an answer that appears as it is written.
// Without this file the list is whole, and the answer opens as plain text.

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- Searching the list -------------------------------------------------------------------------

document.addEventListener('input', event => {
  if (event.target.id !== 'models-search') return;
  const words = event.target.value.trim().toLowerCase().split(/\s+/);
  const rows = all('#models-rows tr');
  rows.forEach(row => { row.hidden = !words.every(word => row.dataset.name.includes(word)); });
  one('#models-none').hidden = rows.some(row => !row.hidden);
});

// Enter in the search field would send the form.
document.addEventListener('keydown', event => {
  if (event.target.id === 'models-search' && event.key === 'Enter') event.preventDefault();
});

// --- Trying it ----------------------------------------------------------------------------------

const form = one('[data-try]');

async function read(answer, onLine) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    lines.filter(Boolean).forEach(line => onLine(JSON.parse(line)));
  }
}

async function ask() {
  const text = one('[data-try-text]');
  const end = one('[data-try-end]');
  const send = one('[data-try-send]', form);
  const stop = one('[data-try-stop]', form);
  const leaving = new AbortController();
  one('[data-try-answer]').hidden = false;
  text.textContent = '';
  end.textContent = '';
  send.disabled = true;
  stop.hidden = false;
  stop.onclick = () => leaving.abort();
  try {
    const answer = await fetch(form.action, {
      method: 'POST',
      body: new FormData(form),
      headers: { Accept: 'application/x-ndjson' },
      signal: leaving.signal,
    });
    await read(answer, line => {
      if (line.text) text.append(line.text);
      if (line.said) end.textContent = line.said;
    });
  } catch (error) {
    end.textContent = error.name === 'AbortError' ? 'Stopped.' : 'The connection broke off. Try again.';
  } finally {
    if (!text.textContent) text.textContent = '–';
    send.disabled = false;
    stop.hidden = true;
  }
}

form?.addEventListener('submit', event => {
  event.preventDefault();
  ask();
});
