// The API beside this page, the token, and what this tab remembers.

const base = location.pathname.endsWith('/') ? location.pathname : `${location.pathname}/`;

/** The tab's memory. Where the browser refuses it, that of the page. */
const memory = {
  page: new Map(),
  get(name) {
    try {
      return sessionStorage.getItem(`larder:${base}:${name}`);
    } catch {
      return this.page.get(name) ?? null;
    }
  },
  set(name, value) {
    try {
      if (value === null) sessionStorage.removeItem(`larder:${base}:${name}`);
      else sessionStorage.setItem(`larder:${base}:${name}`, value);
    } catch {
      this.page.set(name, value);
    }
  },
};

class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Told of every 401: the page asks for a token then. */
let onUnauthorised = () => {};

async function request(path, { method = 'GET', body, query, token = memory.get('token') } = {}) {
  const url = new URL(base + path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const each of [value].flat()) {
      if (each !== null && each !== undefined && each !== '') url.searchParams.append(name, each);
    }
  }
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (method === 'POST') {
    headers['Content-Type'] = 'application/json';
    headers['Larder-Intent'] = 'manage';
  }
  let response;
  let text;
  try {
    const timeout = AbortSignal.timeout(method === 'GET' ? 10000 : 60000);
    const init = { method, headers, cache: 'no-store', credentials: 'same-origin', signal: timeout };
    response = await fetch(url, body === undefined ? init : { ...init, body: JSON.stringify(body) });
    text = await response.text();
  } catch (refused) {
    throw new ApiError(0, refused.name === 'TimeoutError' ? 'no answer in time' : 'the server cannot be reached');
  }
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    if (response.ok)
      throw new ApiError(response.status, 'the answer is not JSON: is something in front of the server?');
  }
  if (response.ok) return answer;
  const error = new ApiError(response.status, answer?.error ?? `the server answered ${response.status}`);
  if (response.status === 401) onUnauthorised(error);
  throw error;
}

const get = (path, query) => request(path, { query });
const post = (path, body) => request(path, { method: 'POST', body });

/** A header value of other than visible ASCII cannot be sent at all. */
const isToken = (text) => /^[\x21-\x7e]+$/.test(text);

/** `#token=…` is taken once, and gone from the address bar and the history. */
function takeToken() {
  const parts = location.hash.slice(1).split('&');
  const given = parts.find((part) => part.startsWith('token='));
  if (given === undefined) return false;
  const rest = parts.filter((part) => part !== given && part !== '').join('&');
  history.replaceState(null, '', location.pathname + location.search + (rest ? `#${rest}` : ''));
  let token = given.slice('token='.length);
  try {
    token = decodeURIComponent(token);
  } catch {
    // Taken as it stands: a per cent sign may be part of it.
  }
  if (isToken(token)) memory.set('token', token);
  return true;
}
