// Numbers as people read them. What was not measured is a dash.

const NONE = '–';
const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const isNumber = (n) => typeof n === 'number' && Number.isFinite(n);

/** Three significant digits, without a dot at the end. */
const digits = (n) => (Math.abs(n) >= 100 ? n.toFixed(0) : String(Number(n.toPrecision(3))));

function count(n) {
  if (!isNumber(n)) return NONE;
  return Math.abs(n) < 100000 ? grouped.format(n) : compact.format(n);
}

const exact = (n) => (isNumber(n) ? grouped.format(n) : NONE);

function perSecond(n) {
  if (!isNumber(n)) return NONE;
  return n >= 1000 ? compact.format(n) : n === 0 ? '0' : n < 0.01 ? '<0.01' : digits(n);
}

function percent(ratio) {
  if (!isNumber(ratio)) return NONE;
  if (ratio > 0.999 && ratio < 1) return `${(Math.floor(ratio * 10000) / 100).toFixed(2)} %`;
  return `${Number((ratio * 100).toFixed(1))} %`;
}

function bytes(n) {
  if (!isNumber(n)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (Math.abs(n) >= 1000 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit ? digits(n) : n} ${units[unit]}`;
}

/** A span: `1.1 µs`, `50 ms`, `47.5 s`, `3 min 20 s`, `2 d 4 h`. */
function span(s) {
  if (!isNumber(s)) return NONE;
  if (s < 0) return `−${span(-s)}`;
  if (s === 0) return '0 s';
  if (s < 1e-6) return `${digits(s * 1e9)} ns`;
  if (s < 1e-3) return `${digits(s * 1e6)} µs`;
  if (s < 1) return `${digits(s * 1e3)} ms`;
  if (s < 60) return `${digits(s)} s`;
  const [whole, unit, part, small] =
    s < 3600 ? [60, 'min', 1, 's'] : s < 86400 ? [3600, 'h', 60, 'min'] : [86400, 'd', 3600, 'h'];
  const most = Math.floor(s / whole);
  const rest = Math.floor((s % whole) / part);
  return rest ? `${grouped.format(most)} ${unit} ${rest} ${small}` : `${grouped.format(most)} ${unit}`;
}

const two = (n) => String(n).padStart(2, '0');

/** The time of day, here; with the date if that is not today's. */
function clock(at, seconds = true) {
  if (!isNumber(at)) return NONE;
  const date = new Date(at * 1000);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}${seconds ? `:${two(date.getSeconds())}` : ''}`;
  return date.toDateString() === new Date().toDateString() ? time : `${day(at)} ${time}`;
}

const day = (at) => new Date(at * 1000).toLocaleDateString('en', { month: 'short', day: 'numeric' });

const timed = (at) => (isNumber(at) ? h('time', { datetime: new Date(at * 1000).toISOString() }, clock(at)) : NONE);

const plural = (n, one, many = `${one}s`) => `${exact(n)} ${n === 1 ? one : many}`;

/** `cookie 12, method 3`: the most frequent first. */
const reasons = (counts) =>
  Object.entries(counts ?? {})
    .sort((a, b) => b[1] - a[1])
    .map(([reason, n]) => `${shown(reason)} ${count(n)}`)
    .join(', ');

/** Served from the cache. */
const served = (tally) => (tally.hits ?? 0) + (tally.stale ?? 0) + (tally.revalidated ?? 0);

const lookups = (tally) => served(tally) + (tally.collapsed ?? 0) + (tally.misses ?? 0);

const requests = (tally) => lookups(tally) + (tally.bypasses ?? 0);

/** Ratios of nothing are none: of lookups, and of all requests. */
const lookupHitRatio = (tally) => (lookups(tally) ? served(tally) / lookups(tally) : null);

const hitRatio = (tally) => (requests(tally) ? served(tally) / requests(tally) : null);
