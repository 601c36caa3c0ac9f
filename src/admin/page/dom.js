// What is shown comes from strangers' requests: elements are built node by node, never from markup.

const SVG = 'http://www.w3.org/2000/svg';
let ids = 0;

const byId = (id) => document.getElementById(id);
const newId = (what) => `${what}-${++ids}`;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: attributes by name, `onclick` and its like as listeners, children as nodes or text. */
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for SVG. */
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Changes the text only if it differs: a selection in it stays. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Control characters and what turns the direction of writing are escaped: no text can pose as another. */
function shown(text) {
  const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  return String(text ?? '').replace(hidden, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** Text of others, apart from what stands around it. */
const said = (text, kind) => h('bdi', { class: kind }, shown(text));

/** The same on at most two lines; the rest is in the title. */
const clipped = (text, kind = '') => h('bdi', { class: `clip ${kind}`, title: shown(text) }, shown(text));

const chips = (names, onpick) =>
  h(
    'span',
    { class: 'chips' },
    (names ?? []).map((name) =>
      onpick
        ? h(
            'button',
            { type: 'button', class: 'chip', onclick: () => onpick(name), title: `Show what has ${shown(name)}` },
            said(name),
          )
        : h('span', { class: 'chip' }, said(name)),
    ),
  );

const badge = (text, kind) => h('span', { class: `badge ${kind}` }, text);

/** A section with a heading, which names it. */
function panel(title, attributes, ...children) {
  const id = newId('panel');
  return h(
    'section',
    { ...attributes, class: `panel ${attributes?.class ?? ''}`, 'aria-labelledby': id },
    h('h2', { id }, title),
    children,
  );
}

const notice = (kind, ...children) => h('p', { class: `notice ${kind}` }, children);

/** What is wide scrolls by itself, also with the keyboard. */
const scroller = (label, ...children) =>
  h('div', { class: 'scroll', role: 'group', 'aria-label': label, tabindex: '0' }, children);

/** A control under its label, with a hint below. */
function field(label, control, hint) {
  const id = control.id || newId('field');
  control.id = id;
  const text = hint ? h('small', { class: 'muted', id: `${id}-hint` }, hint) : null;
  if (text) control.setAttribute('aria-describedby', text.id);
  return h('div', { class: 'field' }, h('label', { for: id }, label), control, text);
}

const input = (attributes) =>
  h('input', { type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', ...attributes });

const check = (label, control) => h('label', { class: 'check' }, control, ' ', label);

/** A choice among few: native radio buttons that look like one bar. */
function segmented(label, name, choices, onpick) {
  const inputs = choices.map(([value]) =>
    h('input', { type: 'radio', name, value, onchange: () => onpick(value), 'data-testid': `${name}-${value}` }),
  );
  const node = h(
    'fieldset',
    { class: 'segmented' },
    h('legend', { class: 'unseen' }, label),
    choices.map(([, text], at) => h('label', {}, inputs[at], h('span', {}, text))),
  );
  return {
    node,
    set: (value) =>
      inputs.forEach((each) => {
        each.checked = each.value === value;
      }),
  };
}

function options(select, values, chosen) {
  const signature = JSON.stringify(values);
  if (select.dataset.options !== signature) {
    select.dataset.options = signature;
    select.replaceChildren(...values.map(([value, text]) => h('option', { value }, shown(text))));
  }
  if (chosen !== undefined) select.value = chosen;
}

/** Said once by screen readers. */
function announce(text) {
  byId('announcer').textContent = '';
  setTimeout(() => {
    byId('announcer').textContent = shown(text);
  }, 50);
}

function copyButton(text) {
  const button = h('button', { type: 'button', class: 'small', 'data-testid': 'copy' }, 'Copy');
  button.addEventListener('click', async () => {
    const copied = await copy(text, button);
    setText(button, copied ? 'Copied' : 'Not copied');
    announce(copied ? 'Copied' : 'It could not be copied');
    setTimeout(() => setText(button, 'Copy'), 2000);
  });
  return button;
}

/** Without TLS browsers have no `navigator.clipboard`. */
async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { class: 'unseen', 'aria-hidden': 'true', tabindex: '-1' });
    area.value = text;
    near.after(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    near.focus();
    return copied;
  }
}

/**
 * A modal dialog; the browser keeps the focus in it, and gives it back. `actions` makes its last buttons. One that
 * `asks` has a way out among these.
 */
function openDialog({ title, testid, wide, body, actions, asks }) {
  const id = newId('dialog');
  const close = () => dialog.close();
  const dialog = h(
    'dialog',
    { 'aria-labelledby': id, class: wide ? 'wide' : '', 'data-testid': testid },
    h(
      'div',
      { class: 'dialog-head' },
      h('h2', { id }, title),
      asks
        ? null
        : h('button', { type: 'button', class: 'small', onclick: close, 'data-testid': 'dialog-close' }, 'Close'),
    ),
    h('div', { class: 'dialog-body' }, body),
    actions ? h('div', { class: 'buttons' }, actions(close)) : null,
  );
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
