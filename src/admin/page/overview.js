// The figures of now, and how they came to be.

function overviewView() {
  const tiles = h('dl', { class: 'tiles' });
  const figures = new Map();
  const figure = (id, label, help) => {
    const value = h('dd', { class: 'figure', 'data-testid': id });
    const note = h('dd', { class: 'note' });
    tiles.append(h('div', { class: 'tile', title: help }, h('dt', {}, label), value, note));
    figures.set(id, { value, note });
  };
  const show = (id, value, text, ...notes) => {
    const { value: node, note } = figures.get(id);
    setText(node, text);
    setAttribute(node, 'data-value', isNumber(value) ? value : '');
    setText(note, notes.filter(Boolean).join(' · '));
  };
  figure('hit-ratio', 'Hit ratio', 'Of all requests, what was served from the cache');
  figure('hits', 'Hits', 'Served from the cache: fresh, stale or revalidated');
  figure('misses', 'Misses', 'Answered by the application');
  figure('bypasses', 'Bypassed', 'The cache took no part');
  figure('hit-latency', 'Latency of a hit', 'Half of the hits were faster');
  figure('miss-latency', 'Latency of a miss', 'Half of the misses were faster');
  figure('saved-time', 'Time saved', 'What the application would have taken for what the cache served');
  figure('saved-bytes', 'Bytes saved', 'What the application would have made again');
  figure('memory', 'Memory', 'Held in this process');
  figure('evictions', 'Evictions', 'Dropped to make room');
  figure('invalidations', 'Invalidations');
  figure('log-lag', 'Log lag', 'How far this process is behind the shared invalidation log');
  figure('stored', 'Stored');
  figure('refreshes', 'Refreshes', 'Made again before they were asked for');
  figure('under-way', 'Under way', 'Answers that are being made right now');
  const memoryBar = h('dd', { class: 'tile-bar' });
  figures.get('memory').note.after(memoryBar);

  const problems = h('div', {});
  const list = historyCharts();
  for (const chart of list) resized.observe(chart.node);

  const stores = storesTable();
  const log = h('dl', { class: 'facts', 'data-testid': 'log' });

  function update() {
    const { cache, metrics } = app;
    const tally = windowOf(metrics);
    const total = metrics.total ?? {};
    const seconds = windowSeconds();
    const perS = (n) => `${perSecond(n / seconds)}/s`;
    const since = state.window === 'total' ? null : (n) => isNumber(n) && `${count(n)} since start`;
    show(
      'hit-ratio',
      hitRatio(tally),
      percent(hitRatio(tally)),
      requests(tally) ? `lookup hit ratio ${percent(lookupHitRatio(tally))}` : `no requests ${windowText()}`,
    );
    const hits = served(tally);
    show(
      'hits',
      hits,
      perS(hits),
      `${count(hits)} ${windowText()}`,
      tally.stale && `${count(tally.stale)} stale`,
      tally.revalidated && `${count(tally.revalidated)} revalidated`,
    );
    show(
      'misses',
      tally.misses,
      perS(tally.misses ?? 0),
      `${count(tally.misses)} ${windowText()}`,
      tally.collapsed && `${count(tally.collapsed)} collapsed`,
    );
    show(
      'bypasses',
      tally.bypasses,
      perS(tally.bypasses ?? 0),
      `${count(tally.bypasses)} ${windowText()}`,
      reasons(tally.bypass_reasons),
    );
    for (const [id, latency] of [
      ['hit-latency', tally.hit_latency],
      ['miss-latency', tally.miss_latency],
    ]) {
      show(
        id,
        latency?.p50_seconds,
        span(latency?.p50_seconds),
        latency ? `p95 ${span(latency.p95_seconds)}` : `none measured ${windowText()}`,
        latency && `p99 ${span(latency.p99_seconds)}`,
      );
    }
    show(
      'saved-time',
      tally.saved_seconds,
      span(tally.saved_seconds),
      windowText(),
      since?.(total.saved_seconds) && `${span(total.saved_seconds)} since start`,
    );
    show(
      'saved-bytes',
      tally.saved_bytes,
      bytes(tally.saved_bytes),
      windowText(),
      since && `${bytes(total.saved_bytes)} since start`,
    );
    const memory_ = cache.memory ?? {};
    const share = memory_.limit_bytes ? memory_.used_bytes / memory_.limit_bytes : 0;
    show(
      'memory',
      memory_.used_bytes,
      bytes(memory_.used_bytes),
      memory_.limit_bytes && `${percent(share)} of ${bytes(memory_.limit_bytes)}`,
      plural(memory_.resources ?? 0, 'resource'),
    );
    memoryBar.replaceChildren(bar(share, share > 0.95 ? 'high' : ''));
    show('evictions', tally.evictions, count(tally.evictions), windowText(), since?.(total.evictions));
    show(
      'invalidations',
      tally.invalidations,
      count(tally.invalidations),
      windowText(),
      since?.(total.invalidations),
    );
    const lag = app.history?.samples?.findLast((sample) => isNumber(sample.log_lag_seconds))?.log_lag_seconds;
    const isShared = cache.log?.kind === 'shared';
    show(
      'log-lag',
      isShared ? lag : null,
      isShared ? span(lag) : 'none',
      isShared ? `contact ${span(cache.log.since_contact_seconds)} ago` : 'own log',
      isShared && cache.log.waiting > 0 && `${count(cache.log.waiting)} waiting`,
    );
    show(
      'stored',
      tally.stored,
      count(tally.stored),
      windowText(),
      tally.not_stored > 0 && `${count(tally.not_stored)} not: ${reasons(tally.not_stored_reasons)}`,
    );
    show(
      'refreshes',
      tally.refreshes,
      count(tally.refreshes),
      `${count(tally.failed_refreshes)} failed`,
      tally.timeouts > 0 && `${plural(tally.timeouts, 'timeout')}`,
    );
    show(
      'under-way',
      cache.fills,
      count(cache.fills),
      `${count(cache.background)} in background`,
      `${plural(cache.writes_waiting ?? 0, 'write')} waiting`,
    );
    stores.update(cache.stores ?? []);
    log.replaceChildren(
      ...logFacts(cache.log).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
    );
    const texts = cache.problems ?? [];
    if (problems.dataset.texts !== JSON.stringify(texts)) {
      problems.dataset.texts = JSON.stringify(texts);
      problems.replaceChildren(...texts.map((text) => notice('warning', said(text))));
    }
  }

  return {
    id: 'overview',
    title: 'Overview',
    uses: ['window', 'span'],
    history: true,
    build: () => [
      problems,
      tiles,
      h(
        'div',
        { class: 'charts' },
        list.map((chart) => chart.node),
        panel('Invalidation log', { class: 'span2 rest' }, log),
      ),
      panel('Stores', {}, stores.node),
    ],
    update,
    onhistory: () => list.forEach((chart) => chart.update(app.history)),
  };
}
