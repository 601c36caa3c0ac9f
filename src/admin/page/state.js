// What is looked at, so that a reload shows it again: view, cache, window and span in the address, the rest in the tab.

const WINDOWS = [
  ['1m', '1 min'],
  ['5m', '5 min'],
  ['1h', '1 h'],
  ['total', 'total'],
];
const SPANS = [
  ['1h', '1 h'],
  ['24h', '24 h'],
  ['7d', '7 d'],
];
const WINDOW_SECONDS = { '1m': 60, '5m': 300, '1h': 3600, total: Infinity };

/** What the server said last. */
const app = { status: null, cache: null, metrics: null, history: null };

const state = { view: 'overview', cache: '', window: '5m', span: '1h' };

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const take = (name, allowed) => {
    const value = given.get(name) ?? memory.get(name);
    if (allowed ? allowed.includes(value) : value !== null) state[name] = value;
  };
  take(
    'view',
    views.map((view) => view.id),
  );
  take('cache');
  take(
    'window',
    WINDOWS.map(([value]) => value),
  );
  take(
    'span',
    SPANS.map(([value]) => value),
  );
}

const address = (change) =>
  `#${new URLSearchParams(Object.entries({ ...state, ...change }).filter(([, value]) => value !== ''))}`;

function writeAddress() {
  for (const [name, value] of Object.entries(state)) memory.set(name, value);
  if (location.hash !== address()) history.replaceState(null, '', address());
}

/** Small things a view remembers: sorting, filters. */
function recall(name, fallback) {
  try {
    return JSON.parse(memory.get(`view:${name}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

const remember = (name, value) => memory.set(`view:${name}`, JSON.stringify(value));

/** The tally of the chosen window, and how long that is by now. */
const windowOf = (of) => (state.window === 'total' ? of.total : of.windows?.[state.window]) ?? of.total ?? {};

const windowSeconds = () =>
  Math.max(1, Math.min(WINDOW_SECONDS[state.window], app.status?.uptime_seconds ?? Infinity));

const windowText = () =>
  state.window === 'total' ? 'since start' : `in ${WINDOWS.find(([value]) => value === state.window)[1]}`;

/** Why actions cannot be used; null if they can. */
function whyNot({ whole = false } = {}) {
  const access = app.status?.access;
  if (access && access.level !== 'full') return 'Your access is read-only: actions need a token with full access.';
  if (whole && access?.tenant)
    return `Your access is limited to tenant ${shown(access.tenant)}: this concerns the whole cache.`;
  return null;
}

/** Shows in a box what a request brings, or why it brings nothing. An answer that comes too late is dropped. */
function loader(box) {
  let asked = 0;
  return async (ask, show) => {
    const mine = ++asked;
    box.setAttribute('aria-busy', 'true');
    try {
      const answer = await ask();
      if (mine === asked) show(answer);
    } catch (error) {
      if (!(error instanceof ApiError)) console.error(error);
      if (mine === asked) box.replaceChildren(failure(error));
    } finally {
      if (mine === asked) box.removeAttribute('aria-busy');
    }
  };
}

const failure = (error) =>
  error.status === 403
    ? notice('info', 'Not available with your access: ', said(error.message))
    : notice('warning', said(error.message));
