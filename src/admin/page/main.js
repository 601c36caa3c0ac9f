// Signs in, shows the chosen view, and keeps its figures moving.

const POLL = 2000;
const HISTORY = 10000;
const views = [
  overviewView(),
  trafficView(),
  adviceView(),
  keysView(),
  explainView(),
  policiesView(),
  graphView(),
  actionsView(),
];
let current = null;
let paused = recall('paused', false);
let timer = 0;
let failures = 0;
let failingSince = 0;
let historyAt = 0;
let historyOf = '';
let pollAt = 0;
let turn = 0;

const windowPicker = segmented('Window of the figures', 'window', WINDOWS, (value) => pick({ window: value }));
const spanPicker = segmented('Span of the charts', 'span', SPANS, (value) => pick({ span: value }));
const tabs = new Map(
  views.map((view) => [view.id, h('a', { href: '#', 'data-testid': `tab-${view.id}` }, view.title)]),
);

function pick(change) {
  Object.assign(state, change);
  writeAddress();
  showPickers();
  if (change.cache !== undefined) {
    app.metrics = null;
    app.history = null;
    current = null;
  }
  if (change.window !== undefined && current?.update && app.metrics) current.update();
  // Paused, what was asked for is fetched all the same.
  if (change.span !== undefined || change.cache !== undefined) tick(true);
}

function showPickers() {
  windowPicker.set(state.window);
  spanPicker.set(state.span);
  for (const [id, link] of tabs) {
    setAttribute(link, 'href', address({ view: id }));
    if (id === state.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function showView() {
  const view = views.find((each) => each.id === state.view);
  if (current === view) return;
  const first = current === null;
  current = view;
  setText(byId('title'), view.title);
  document.title = `${view.title} · larder`;
  for (const [name, node] of Object.entries(pickers)) setHidden(node, !view.uses.includes(name));
  byId('view').replaceChildren(...view.build());
  tabs.get(view.id).scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
  if (!first) window.scrollTo(0, 0);
  pollAt = Date.now();
  if (view.update) view.update();
  view.enter?.();
  if (view.history && app.history) view.onhistory();
}

function showHeader() {
  const { status, cache } = app;
  options(
    byId('cache-picker'),
    status.caches.map(({ name }) => [name, name]),
    cache.name,
  );
  setHidden(byId('cache-label'), status.caches.length < 2);
  const health = byId('health');
  const text = cache.health ?? 'unknown';
  if (!['…', 'not reached', text].includes(health.textContent)) announce(`Health: ${text}`);
  setText(health, text);
  setAttribute(health, 'class', `pill ${text === 'healthy' ? 'good' : 'warn'}`);
  health.title = shown((cache.problems ?? []).join('\n'));
  setText(byId('uptime'), `up ${span(status.uptime_seconds)}`);
  const { access } = status;
  const limits = [
    access?.level === 'read' ? 'read-only' : null,
    access?.tenant ? `tenant ${shown(access.tenant)}` : null,
  ]
    .filter(Boolean)
    .join(', ');
  setHidden(byId('access'), !limits);
  setText(byId('access'), limits);
  setHidden(byId('signout'), !memory.get('token'));
  const about = [
    `larder ${shown(status.larder)}`,
    `up ${span(status.uptime_seconds)}`,
    `namespace ${shown(cache.namespace)}`,
    cache.version ? `version ${shown(cache.version)}` : null,
  ];
  setText(byId('version'), about.filter(Boolean).join(' · '));
}

/** Fetches and shows what is new; `forced` also while paused. */
async function tick(forced = false) {
  clearTimeout(timer);
  if (document.hidden || byId('app').hidden || (paused && !forced)) return;
  const mine = ++turn;
  try {
    const status = await get('api/status');
    if (mine !== turn) return;
    const cache = (status.caches ?? []).find(({ name }) => name === state.cache) ?? status.caches?.[0];
    if (!cache) throw new ApiError(404, 'no cache is given to this page');
    if (state.cache !== cache.name) {
      state.cache = cache.name;
      writeAddress();
      showPickers();
    }
    const view = views.find((each) => each.id === state.view);
    const wanted = `${state.cache} ${state.span}`;
    const old = Date.now() - historyAt >= HISTORY - 100 || historyOf !== wanted;
    const [metrics, history_] = await Promise.all([
      get('api/metrics', { cache: cache.name }),
      view.history && old ? get('api/history', { cache: cache.name, span: state.span }) : null,
    ]);
    if (mine !== turn) return;
    const of = (metrics.caches ?? []).find(({ name }) => name === cache.name);
    Object.assign(app, { status, cache, metrics: of ?? { total: {} } });
    if (history_) {
      app.history = history_;
      historyAt = Date.now();
      historyOf = wanted;
    }
    reached();
    showHeader();
    if (current !== view) showView();
    else {
      view.update?.();
      if (history_) view.onhistory();
      if (view.poll && Date.now() - pollAt >= HISTORY) {
        pollAt = Date.now();
        view.poll();
      }
    }
    setText(byId('updated'), `updated ${clock(Date.now() / 1000)}`);
  } catch (error) {
    if (mine !== turn) return;
    if (!(error instanceof ApiError)) console.error(error);
    if (error.status === 401) return;
    lost(error);
  }
  if (!paused) timer = setTimeout(tick, failures ? Math.min(POLL * 2 ** (failures - 1), 16000) : POLL);
}

function reached() {
  if (failures) announce('The server answers again');
  failures = 0;
  setHidden(byId('banner'), true);
  byId('app').classList.remove('lost');
}

function lost(error) {
  setText(byId('health'), 'not reached');
  setAttribute(byId('health'), 'class', 'pill bad');
  failures += 1;
  if (failures === 1) failingSince = Date.now() / 1000;
  const reason = error.status ? `The server answers with an error: ${error.message}` : 'The server cannot be reached';
  const text = `${shown(reason)} (since ${clock(failingSince)}). Figures are old; it is tried again by itself.`;
  if (failures === 1) announce(text);
  setText(byId('banner-text'), text);
  setHidden(byId('banner'), false);
  byId('app').classList.add('lost');
}

function showSignin(text) {
  clearTimeout(timer);
  turn += 1;
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  byId('app').hidden = true;
  byId('signin').hidden = false;
  document.title = 'Sign in · larder';
  byId('signin-token').value = '';
  setText(byId('signin-error'), text ?? '');
  byId('signin-token').focus();
}

function showApp() {
  byId('signin').hidden = true;
  byId('app').hidden = false;
  current = null;
  failures = 0;
  setText(byId('title'), 'Loading…');
  tick(true);
}

onUnauthorised = (error) => {
  const had = memory.get('token') !== null;
  memory.set('token', null);
  if (byId('signin').hidden) showSignin(had ? shown(error.message) : '');
};

async function signIn(event) {
  event.preventDefault();
  const token = byId('signin-token').value.trim();
  const tell = (text) => {
    setText(byId('signin-error'), shown(text));
    byId('signin-token').setAttribute('aria-invalid', text ? 'true' : 'false');
  };
  tell('');
  if (!isToken(token)) return tell('A token has no spaces and only ASCII characters.');
  try {
    await request('api/status', { token });
    memory.set('token', token);
    byId('signin-token').value = '';
    showApp();
    byId('main').focus();
  } catch (error) {
    tell(error.status === 401 ? 'This token is not accepted.' : error.message);
    byId('signin-token').select();
  }
  return undefined;
}

function showPause() {
  const button = byId('pause');
  setText(button, paused ? 'Resume' : 'Pause');
  byId('app').classList.toggle('paused', paused);
}

function addressChanged() {
  const taken = takeToken();
  const before = state.cache;
  readAddress();
  showPickers();
  if (taken) return showApp();
  if (state.cache !== before) current = null;
  if (!app.metrics || byId('app').hidden) return undefined;
  if (current) showView();
  return tick(true);
}

byId('signin-form').addEventListener('submit', signIn);
byId('signout').addEventListener('click', () => {
  memory.set('token', null);
  showSignin('');
});
byId('pause').addEventListener('click', () => {
  paused = !paused;
  remember('paused', paused);
  showPause();
  tick();
});
byId('cache-picker').addEventListener('change', (event) => pick({ cache: event.target.value }));
byId('banner-retry').addEventListener('click', () => tick(true));
byId('skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
});
document.addEventListener('visibilitychange', () => tick());
window.addEventListener('online', () => tick());
window.addEventListener('hashchange', addressChanged);

byId('tabs').append(...tabs.values());
const labelled = (text, picker) =>
  h('div', { class: 'labelled', hidden: true }, h('span', { 'aria-hidden': 'true' }, text), picker.node);
const pickers = { window: labelled('Figures', windowPicker), span: labelled('Charts', spanPicker) };
byId('pickers').append(pickers.window, pickers.span);
takeToken();
readAddress();
showPickers();
showPause();
showApp();
