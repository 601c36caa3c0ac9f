// The stores below the memory tier, and the log.

function storesTable() {
  const ratio = (row) => (row.hits + row.misses ? row.hits / (row.hits + row.misses) : null);
  return table({
    name: 'stores',
    caption: 'Stores',
    hiddenCaption: true,
    testid: 'stores',
    key: (row) => row.name,
    empty: 'Memory only: no store is configured.',
    columns: [
      { id: 'name', label: 'Store', value: (row) => row.name },
      {
        id: 'state',
        label: 'State',
        value: (row) => (row.up ? 'up' : 'away'),
        node: (row) => badge(row.up ? 'up' : 'away', row.up ? 'good' : 'bad'),
      },
      plain('ratio', 'Lookup hit ratio', ratio, percent),
      plain('hits', 'Hits', (row) => row.hits, count),
      plain('misses', 'Misses', (row) => row.misses, count),
      plain('writes', 'Writes', (row) => row.writes, count),
      plain('dropped', 'Dropped', (row) => row.dropped, count, { help: 'Writes that were given up' }),
      plain('p50', 'p50', (row) => row.latency?.p50_seconds, span),
      plain('p95', 'p95', (row) => row.latency?.p95_seconds, span),
      plain('used', 'Used', (row) => row.used_bytes, bytes),
      plain('limit', 'Allowed', (row) => row.limit_bytes, bytes),
      plain('evicted', 'Evicted', (row) => row.evicted, count),
      { id: 'reasons', label: 'Faults', value: (row) => reasons(row.reasons) },
    ],
  });
}

function logFacts(given) {
  if (!given) return [];
  if (given.kind !== 'shared') return [['Kind', 'this process only']];
  return [
    ['Kind', 'shared'],
    ['Read', count(given.read)],
    ['Sent', count(given.sent)],
    ['Waiting', count(given.waiting)],
    ['Gaps', count(given.gaps)],
    ['Unreadable', count(given.unreadable)],
    ['Foreign', count(given.foreign)],
    ['Failures', count(given.failures)],
    ['Last contact', isNumber(given.since_contact_seconds) ? `${span(given.since_contact_seconds)} ago` : NONE],
  ];
}
