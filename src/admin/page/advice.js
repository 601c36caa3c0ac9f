// What to change: routes that are never stored, advice from the counters, the last report.

function adviceView() {
  const uncacheable = table({
    name: 'uncacheable',
    caption: 'Routes that are asked for often and never stored',
    hiddenCaption: true,
    testid: 'uncacheable',
    sort: ['count', 'desc'],
    key: (row) => JSON.stringify([row.route, row.policy, row.reason]),
    empty: 'Nothing that was asked for had to be left out.',
    columns: [
      { id: 'route', label: 'Route', value: (row) => row.route },
      { id: 'policy', label: 'Policy', value: (row) => row.policy },
      {
        id: 'reason',
        label: 'Reason',
        value: (row) => row.reason,
        node: (row) => h('span', { class: 'chip' }, said(row.reason)),
      },
      plain('count', 'Requests', (row) => row.count, count),
      {
        id: 'advice',
        label: 'What to change',
        fixed: true,
        value: (row) => row.advice,
        node: (row) => h('span', { class: 'prose' }, said(row.advice)),
      },
    ],
  });
  const advice = h('div', { 'data-testid': 'advice' });
  const report = h('div', { 'data-testid': 'report' });
  const load = loader(advice);
  const loadReport = loader(report);

  function showAdvice(answer) {
    const list = [...(answer.advice ?? [])].sort((a, b) => (b.severity === 'warning') - (a.severity === 'warning'));
    advice.replaceChildren(
      list.length
        ? h(
            'ul',
            { class: 'cards' },
            list.map((each) =>
              h(
                'li',
                {},
                h(
                  'div',
                  { class: 'card-head' },
                  badge(each.severity === 'warning' ? 'warning' : 'info', each.severity === 'warning' ? 'warn' : ''),
                  h('b', {}, said(each.kind.replaceAll('-', ' '))),
                  said(each.policy, 'code'),
                  each.route && each.route !== each.policy ? said(each.route, 'muted') : null,
                ),
                h('p', { class: 'prose' }, said(each.text)),
                each.change
                  ? h(
                      'div',
                      { class: 'change' },
                      h('pre', { tabindex: '0', 'aria-label': 'Policy change' }, h('code', {}, shown(each.change))),
                      copyButton(each.change),
                    )
                  : null,
              ),
            ),
          )
        : h('p', { class: 'muted empty' }, 'No advice: nothing stands out in the counters.'),
    );
  }

  const texts = (title, list) =>
    list?.length
      ? [
          h('h3', {}, title),
          h(
            'ul',
            {},
            list.map((each) => h('li', {}, said(each.policy, 'code'), ' ', said(each.text))),
          ),
        ]
      : [];

  function showReport(answer) {
    if (!answer) return report.replaceChildren(h('p', { class: 'muted empty' }, 'There is no report yet.'));
    const tally = answer.effectiveness ?? {};
    const coverage = table({
      name: 'coverage',
      caption: 'Coverage by tenant',
      testid: 'coverage',
      key: (row) => row.tenant,
      limit: 10,
      empty: 'No tenants.',
      columns: [
        { id: 'tenant', label: 'Tenant', value: (row) => row.tenant },
        plain('entries', 'Entries', (row) => row.entries, count),
        plain('ratio', 'Lookup hit ratio', (row) => row.lookup_hit_ratio, percent),
      ],
    });
    coverage.update(answer.coverage ?? []);
    report.replaceChildren(
      h(
        'p',
        { class: 'muted' },
        'From ',
        timed(answer.since),
        ' to ',
        timed(answer.at),
        `: hit ratio ${percent(hitRatio(tally))}, ${plural(requests(tally), 'request')}, `,
        `${span(tally.saved_seconds)} saved.`,
      ),
      h('pre', { class: 'report', tabindex: '0', 'aria-label': 'Report' }, shown(answer.text)),
      ...texts('Regressions', answer.regressions),
      ...texts('Bottlenecks', answer.bottlenecks),
      answer.coverage?.length ? coverage.node : '',
    );
    return undefined;
  }

  return {
    id: 'advice',
    title: 'Advice',
    uses: [],
    build: () => [
      panel('Advice', {}, advice),
      panel('Never stored', {}, uncacheable.node),
      panel('Last report', {}, report),
    ],
    update: () => uncacheable.update(app.metrics.uncacheable ?? []),
    enter() {
      load(() => get('api/advice', { cache: state.cache }), showAdvice);
      loadReport(
        () =>
          get('api/report', { cache: state.cache }).catch((error) => {
            if (error.status === 404) return null;
            throw error;
          }),
        showReport,
      );
    },
  };
}
