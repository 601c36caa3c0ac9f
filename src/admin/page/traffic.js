// Who and what the requests are: policies, values, tenants, and what the memory is spent on.

const ratioColumn = {
  id: 'ratio',
  label: 'Lookup hit ratio',
  help: 'Hits of hits, misses and collapsed',
  num: true,
  value: (row) => lookupHitRatio(windowOf(row)),
  text: (row) => percent(lookupHitRatio(windowOf(row))),
  node: (row) =>
    h('span', { class: 'with-bar' }, percent(lookupHitRatio(windowOf(row))), bar(lookupHitRatio(windowOf(row)))),
};

const tallyColumns = [
  ratioColumn,
  plain('requests', 'Requests', (row) => requests(windowOf(row)), count),
  plain('hits', 'Hits', (row) => served(windowOf(row)), count, {
    help: 'Served from the cache: fresh, stale or revalidated',
  }),
  plain('misses', 'Misses', (row) => windowOf(row).misses, count),
  plain('collapsed', 'Collapsed', (row) => windowOf(row).collapsed, count, {
    help: 'Answered with what another request brought',
  }),
];
const bypassColumn = plain('bypasses', 'Bypassed', (row) => windowOf(row).bypasses, count);
const storedColumn = plain('stored', 'Stored', (row) => windowOf(row).stored, count);
const latencyColumns = [
  plain('hit95', 'Hit p95', (row) => windowOf(row).hit_latency?.p95_seconds, span),
  plain('miss50', 'Miss p50', (row) => windowOf(row).miss_latency?.p50_seconds, span),
  plain('miss95', 'Miss p95', (row) => windowOf(row).miss_latency?.p95_seconds, span),
];
const heldColumns = [
  plain('entries', 'Entries', (row) => row.entries, count),
  plain('bytes', 'Bytes', (row) => row.entry_bytes, bytes),
];

/** Whether it is met is not known where little is asked. */
const metText = ({ met }) => (met ? 'met' : met === false ? 'missed' : 'too little asked');

const objectiveColumn = {
  id: 'objective',
  label: 'Objective',
  value: (row) => (row.objective ? metText(row.objective) : null),
  text: (row) => (row.objective ? `${row.objective.met} ${objectiveText(row.objective)}` : NONE),
  node: (row) =>
    row.objective
      ? h(
          'span',
          { class: 'nowrap' },
          badge(metText(row.objective), { met: 'good', missed: 'bad' }[metText(row.objective)] ?? ''),
          ' ',
          h('small', { class: 'muted' }, objectiveText(row.objective)),
        )
      : h('span', { class: 'muted' }, NONE),
};

const objectiveText = (objective) =>
  [
    isNumber(objective.lookup_hit_ratio) ? `≥ ${percent(objective.lookup_hit_ratio)}` : null,
    isNumber(objective.p95_seconds) ? `p95 ≤ ${span(objective.p95_seconds)}` : null,
  ]
    .filter(Boolean)
    .join(', ');

/** A list of names with their bytes as bars. */
function byteBars(title, testid, empty) {
  const list = h('ol', { class: 'bars', 'data-testid': testid });
  const nothing = h('p', { class: 'muted empty' }, empty);
  let last = '';
  return {
    node: panel(title, {}, list, nothing),
    update(rows) {
      const top = [...rows]
        .filter((row) => row.entry_bytes > 0)
        .sort((a, b) => b.entry_bytes - a.entry_bytes)
        .slice(0, 12);
      setHidden(nothing, top.length > 0);
      if (last === JSON.stringify(top)) return;
      last = JSON.stringify(top);
      const most = top[0]?.entry_bytes ?? 1;
      list.replaceChildren(
        ...top.map((row) =>
          h(
            'li',
            {},
            clipped(row.name, 'one'),
            h(
              'span',
              { class: 'nowrap' },
              bytes(row.entry_bytes),
              h('small', { class: 'muted' }, ` · ${plural(row.entries ?? 0, 'entry', 'entries')}`),
            ),
            bar(row.entry_bytes / most),
          ),
        ),
      );
    },
  };
}

function trafficView() {
  const name = (label) => ({ id: 'name', label, value: (row) => row.name });
  const key = (row) => row.name;
  const policies = table({
    name: 'policies',
    caption: 'Policies',
    hiddenCaption: true,
    testid: 'policies',
    key,
    sort: ['requests', 'desc'],
    empty: 'No request has met a policy yet.',
    columns: [
      name('Policy'),
      ...tallyColumns,
      bypassColumn,
      storedColumn,
      ...latencyColumns,
      ...heldColumns,
      objectiveColumn,
    ],
  });
  const values = table({
    name: 'values',
    caption: 'Values',
    hiddenCaption: true,
    testid: 'values',
    key,
    sort: ['requests', 'desc'],
    empty: 'No cached value has been asked for.',
    columns: [
      name('Value'),
      ...tallyColumns.map((column) => (column.id === 'requests' ? { ...column, label: 'Lookups' } : column)),
      storedColumn,
      ...latencyColumns,
      ...heldColumns,
      objectiveColumn,
    ],
  });
  const tenants = table({
    name: 'tenants',
    caption: 'Tenants',
    hiddenCaption: true,
    testid: 'tenants',
    key,
    sort: ['requests', 'desc'],
    empty: 'No request named a tenant.',
    columns: [
      name('Tenant'),
      ...tallyColumns,
      bypassColumn,
      storedColumn,
      ...latencyColumns,
      plain('saved', 'Time saved', (row) => windowOf(row).saved_seconds, span),
    ],
  });
  const bars = [
    byteBars('Bytes by policy', 'bytes-by-policy', 'Nothing is held.'),
    byteBars('Bytes by tag', 'bytes-by-tag', 'Nothing that is held has a tag.'),
    byteBars('Bytes by pattern', 'bytes-by-pattern', 'Nothing is held.'),
  ];
  return {
    id: 'traffic',
    title: 'Traffic',
    uses: ['window'],
    build: () => [
      panel('Policies', {}, policies.node),
      panel('Values', {}, values.node),
      panel('Tenants', {}, tenants.node),
      h(
        'div',
        { class: 'columns3' },
        bars.map((each) => each.node),
      ),
    ],
    update() {
      const rows = app.metrics.policies ?? [];
      policies.update(rows.filter((row) => row.kind !== 'value'));
      values.update(rows.filter((row) => row.kind === 'value'));
      tenants.update(app.metrics.tenants ?? []);
      bars[0].update(rows);
      bars[1].update(app.metrics.tags ?? []);
      bars[2].update(app.metrics.patterns ?? []);
    },
  };
}
