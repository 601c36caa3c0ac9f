// What is held: search by pattern, tenant, policy and tag; one entry in full.

function keysView() {
  const form = recall('keys', {});
  const fields = {
    pattern: input({ type: 'search', placeholder: 'tenant=1:*dashboard*', 'data-testid': 'explore-pattern' }),
    tenant: input({ 'data-testid': 'explore-tenant' }),
    policy: h('select', { 'data-testid': 'explore-policy' }),
    tag: input({ 'data-testid': 'explore-tag' }),
  };
  const found = h('p', { class: 'muted', 'data-testid': 'explore-found' });
  const problem = h('div', {});
  const load = loader(problem);
  const earlier = h(
    'button',
    { type: 'button', onclick: () => page(-1), 'data-testid': 'explore-previous' },
    '← Previous',
  );
  const later = h('button', { type: 'button', onclick: () => page(1), 'data-testid': 'explore-next' }, 'Next →');
  const PAGE = 50;
  // The cursors of the pages up to this one, and that of the next.
  let cursors = [''];
  let next = null;

  const keys = table({
    name: 'keys',
    caption: 'Keys held in memory',
    hiddenCaption: true,
    testid: 'explore-rows',
    key: (row) => row.id,
    limit: PAGE,
    sort: ['size', 'desc'],
    empty: 'No key matches.',
    onsort: () => search(),
    columns: [
      {
        id: 'key',
        label: 'Key',
        value: (row) => row.key,
        node: (row) =>
          h(
            'button',
            { type: 'button', class: 'link', onclick: () => openEntry(row), 'data-testid': 'explore-row' },
            clipped(row.key, 'code'),
          ),
      },
      { id: 'size', label: 'Size', num: true, value: (row) => row.size_bytes, text: (row) => bytes(row.size_bytes) },
      { id: 'age', label: 'Age', num: true, value: (row) => row.age_seconds, text: (row) => span(row.age_seconds) },
      {
        id: 'ttl',
        label: 'Fresh for',
        num: true,
        value: (row) => row.ttl_seconds,
        text: (row) => (row.stale ? 'stale' : span(row.ttl_seconds)),
        node: (row) => (row.stale ? badge('stale', 'warn') : span(row.ttl_seconds)),
      },
      { id: 'hits', label: 'Hits', num: true, value: (row) => row.hits, text: (row) => count(row.hits) },
      {
        id: 'status',
        label: 'Status',
        fixed: true,
        num: true,
        value: (row) => (row.kind === 'value' ? 'value' : row.status),
      },
      { id: 'policy', label: 'Policy', fixed: true, value: (row) => row.policy },
      { id: 'tenant', label: 'Tenant', fixed: true, value: (row) => row.tenant },
      {
        id: 'tags',
        label: 'Tags',
        fixed: true,
        value: (row) => (row.tags ?? []).join(' '),
        node: (row) => chips((row.tags ?? []).slice(0, 6), pickTag),
      },
    ],
  });

  function pickTag(tag) {
    fields.tag.value = tag;
    search();
    fields.tag.focus();
  }

  function search() {
    cursors = [''];
    page(0);
  }

  function page(step) {
    if (step > 0) cursors.push(next);
    if (step < 0) cursors.pop();
    const [sort, order] = keys.sorting();
    const filters = Object.fromEntries(Object.entries(fields).map(([name, control]) => [name, control.value.trim()]));
    remember('keys', filters);
    load(
      () => get('api/explore', { cache: state.cache, ...filters, sort, order, limit: PAGE, cursor: cursors.at(-1) }),
      (answer) => {
        problem.replaceChildren();
        next = answer.cursor;
        const entries = answer.entries ?? [];
        keys.update(entries);
        const from = (cursors.length - 1) * PAGE;
        const range = entries.length ? `, ${exact(from + 1)}–${exact(from + entries.length)} shown` : '';
        const [least, end] = answer.complete ? ['', '.'] : ['At least ', '; the search was broken off: narrow it.'];
        const all = plural(answer.total, 'entry', 'entries');
        const text = `${least}${exact(answer.matching)} of ${all} match${range}${end}`;
        setText(found, text);
        announce(text);
        earlier.disabled = cursors.length < 2;
        later.disabled = !next;
      },
    );
  }

  function openEntry(row) {
    const box = h('div', {}, h('p', { class: 'muted' }, 'Loading…'));
    const dialog = openDialog({ title: 'Entry', testid: 'entry-dialog', wide: true, body: box });
    loader(box)(
      () => get('api/entry', { cache: state.cache, id: row.id }),
      (entry) =>
        box.replaceChildren(
          ...entryDetails({ ...row, ...entry }, (tag) => {
            dialog.close();
            pickTag(tag);
          }),
        ),
    );
  }

  return {
    id: 'keys',
    title: 'Keys',
    uses: [],
    build: () => [
      h(
        'form',
        {
          class: 'panel fields search',
          role: 'search',
          'aria-label': 'Keys',
          'data-testid': 'explore-form',
          onsubmit: (event) => {
            event.preventDefault();
            search();
          },
        },
        field('Pattern', fields.pattern, '* stands for anything'),
        field('Tenant', fields.tenant),
        field('Policy', fields.policy),
        field('Tag', fields.tag),
        h(
          'div',
          { class: 'buttons' },
          h('button', { class: 'primary', type: 'submit', 'data-testid': 'explore-search' }, 'Search'),
          h(
            'button',
            {
              type: 'button',
              onclick: () => {
                for (const control of Object.values(fields)) control.value = '';
                search();
              },
            },
            'Reset',
          ),
        ),
      ),
      h('div', { class: 'panel' }, found, problem, keys.node, h('div', { class: 'buttons pages' }, earlier, later)),
    ],
    update() {
      const chosen = fields.policy.value || form.policy || '';
      options(fields.policy, [['', 'any'], ...policyNames().map((name) => [name, name])]);
      if ([...fields.policy.options].some((option) => option.value === chosen)) fields.policy.value = chosen;
    },
    enter() {
      for (const [name, control] of Object.entries(fields))
        if (form[name] && name !== 'policy') control.value = form[name];
      this.update();
      if (app.status.access?.tenant) {
        fields.tenant.value = app.status.access.tenant;
        fields.tenant.disabled = true;
      }
      search();
    },
  };
}

const policyNames = () => [...new Set((app.metrics?.policies ?? []).map((row) => row.name))].sort();

const facts = (rows) =>
  h(
    'dl',
    { class: 'facts' },
    rows
      .filter(([, value]) => value !== null && value !== undefined && value !== '')
      .map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );

function entryDetails(entry, pickTag) {
  const head = h(
    'table',
    {},
    h('caption', {}, 'Head'),
    h(
      'thead',
      { class: 'unseen' },
      h('tr', {}, h('th', { scope: 'col' }, 'Field'), h('th', { scope: 'col' }, 'Value')),
    ),
    h(
      'tbody',
      {},
      (entry.head ?? []).map(([name, value]) =>
        h('tr', {}, h('th', { scope: 'row' }, said(name, 'code')), h('td', {}, said(value, 'code'))),
      ),
    ),
  );
  return [
    h('div', { class: 'key' }, said(entry.key, 'code'), copyButton(entry.key)),
    facts([
      ['Kind', said(entry.kind)],
      ['Status', entry.status && String(entry.status)],
      ['Policy', entry.policy && said(entry.policy)],
      ['Tenant', entry.tenant && said(entry.tenant)],
      ['Size', bytes(entry.size_bytes)],
      ['Body', isNumber(entry.body_bytes) ? bytes(entry.body_bytes) : null],
      ['Hits', exact(entry.hits)],
      ['Variants', entry.variants > 1 ? exact(entry.variants) : null],
      ['Stored', timed(entry.stored_at)],
      ['Age', span(entry.age_seconds)],
      ['Expires', timed(entry.expires_at)],
      ['Fresh for', entry.stale ? badge('stale', 'warn') : span(entry.ttl_seconds)],
      ['Stale while revalidate', span(entry.stale_while_revalidate_seconds)],
      ['Stale if error', span(entry.stale_if_error_seconds)],
      ['Made in', isNumber(entry.fill_seconds) ? span(entry.fill_seconds) : null],
      ['Validators', entry.validators?.length ? said(entry.validators.join(', ')) : 'none'],
      ['Varies by', entry.nominated?.length ? said(entry.nominated.join(', ')) : 'nothing'],
    ]),
    entry.tags?.length
      ? h('div', { class: 'key' }, h('span', { class: 'muted' }, 'Tags'), chips(entry.tags, pickTag))
      : '',
    entry.head?.length ? scroller('Head', head) : '',
    typeof entry.body === 'string'
      ? h('div', {}, h('h3', {}, 'Body'), h('pre', { tabindex: '0', 'aria-label': 'Body' }, shown(entry.body)))
      : h('p', { class: 'muted' }, 'Bodies are not shown here.'),
  ];
}
