// What changes something: each is previewed, then confirmed. And the trail of what was done.

function actionsView() {
  const audit = table({
    name: 'audit',
    caption: 'Audit trail',
    hiddenCaption: true,
    testid: 'audit',
    key: (row) => row.id,
    sort: ['at', 'desc'],
    empty: 'Nothing has been done yet.',
    columns: [
      {
        id: 'at',
        label: 'When',
        value: (row) => row.at,
        text: (row) => String(row.at),
        node: (row) => timed(row.at),
      },
      { id: 'action', label: 'Action', value: (row) => row.action },
      { id: 'what', label: 'What', value: (row) => row.what },
      { id: 'hits', label: 'Entries', num: true, value: (row) => row.hits, text: (row) => exact(row.hits) },
      {
        id: 'outcome',
        label: 'Outcome',
        value: (row) => row.outcome,
        node: (row) =>
          row.outcome === 'ok'
            ? badge('ok', 'good')
            : h('span', { class: `badge wrap ${row.outcome === 'unconfirmed' ? 'warn' : 'bad'}` }, said(row.outcome)),
      },
      { id: 'by', label: 'By', value: (row) => row.by },
      { id: 'cache', label: 'Cache', value: (row) => row.cache },
    ],
  });
  const problem = h('div', {});
  const load = loader(problem);
  const readTrail = () =>
    load(
      () => get('api/audit', { limit: 100 }),
      (answer) => {
        problem.replaceChildren();
        // Two actions may be of the same moment: the older ones keep their number.
        const actions = answer.actions ?? [];
        audit.update(
          actions.map((row, at) => ({
            ...row,
            id: `${row.at}:${actions.slice(at + 1).filter((other) => other.at === row.at).length}`,
          })),
        );
      },
    );
  const forms = [invalidateForm(readTrail), warmForm(readTrail), clearForm(readTrail)];
  const denied = h('div', {});
  return {
    id: 'actions',
    title: 'Actions',
    uses: [],
    build: () => [
      denied,
      h('div', { class: 'actions' }, forms[0].node, h('div', {}, forms[1].node, forms[2].node)),
      panel('Audit trail', {}, problem, audit.node),
    ],
    update() {
      const why = whyNot();
      if (denied.textContent !== (why ?? '')) denied.replaceChildren(...(why ? [notice('info', why)] : []));
      for (const form of forms) form.update();
    },
    enter() {
      this.update();
      readTrail();
    },
    poll: readTrail,
  };
}

/** What came of an action, beside its form and aloud. */
function outcomeBox(testid) {
  const node = h('div', { class: 'outcome-box', 'data-testid': testid });
  return {
    node,
    clear: () => node.replaceChildren(),
    show(kind, text) {
      node.replaceChildren(notice(kind, said(text)));
      announce(text);
    },
  };
}

const SELECTORS = {
  tag: ['Tag', [['tag', 'Tag']]],
  tags: ['Several tags at once', [['tags', 'Tags', 'With commas between; entries that have all of them']]],
  resource: ['Resource', [['resource', 'URI', 'All variants of it, for every tenant and user']]],
  pattern: ['Pattern', [['pattern', 'Pattern', 'As in the key explorer, * stands for anything']]],
  policy: ['Policy', [['policy', 'Policy']]],
  changed: [
    'Something changed',
    [
      ['changed', 'Name', 'All that depends on it, also by way of others'],
      ['id', 'Id', 'Optional'],
    ],
  ],
  user: ['User', [['user', 'User']]],
  tenant: ['All of a tenant', []],
  everything: ['Everything', []],
};

function invalidateForm(done) {
  const kind = h(
    'select',
    { 'data-testid': 'invalidate-kind', onchange: () => draw() },
    Object.entries(SELECTORS).map(([value, [label]]) => h('option', { value }, label)),
  );
  const inputs = h('div', { class: 'fields wide-field' });
  const tenant = input({ 'data-testid': 'invalidate-tenant' });
  const tenantHint = h('small', { class: 'muted', id: 'invalidate-tenant-hint' });
  const hard = h('input', { type: 'radio', name: 'hardness', checked: true, 'data-testid': 'invalidate-hard' });
  const soft = h('input', { type: 'radio', name: 'hardness', 'data-testid': 'invalidate-soft' });
  const names = h('datalist', { id: newId('names') });
  const outcome = outcomeBox('invalidate-result');
  const submit = h('button', { class: 'primary', type: 'submit', 'data-testid': 'invalidate-preview' }, 'Preview…');
  const all = h(
    'fieldset',
    { class: 'plain fields' },
    field('What', kind),
    h('div', { class: 'field' }, h('label', { for: 'invalidate-tenant' }, 'Tenant'), tenant, tenantHint),
    inputs,
    h(
      'div',
      { class: 'wide-field', role: 'radiogroup', 'aria-label': 'How' },
      check('Hard: must be made again', hard),
      check('Soft: may be served stale while it is made again', soft),
    ),
    names,
    h('div', { class: 'buttons' }, submit),
  );
  tenant.id = 'invalidate-tenant';
  tenant.setAttribute('aria-describedby', tenantHint.id);
  let controls = {};

  function draw() {
    const [, fields] = SELECTORS[kind.value];
    controls = Object.fromEntries(
      fields.map(([name]) => [
        name,
        input({
          'data-testid': `invalidate-${name}`,
          required: name !== 'id',
          list: name === 'policy' || name === 'tag' ? names.id : null,
        }),
      ]),
    );
    inputs.replaceChildren(...fields.map(([name, label, hint]) => field(label, controls[name], hint)));
    setHidden(inputs, !fields.length);
    tenant.required = kind.value === 'tenant';
    setText(
      tenantHint,
      tenant.disabled ? 'All that your access reaches' : tenant.required ? '' : 'Optional: narrows it to one',
    );
    const known = kind.value === 'policy' ? policyNames() : (app.metrics?.tags ?? []).map((tag) => tag.name);
    names.replaceChildren(...known.map((name) => h('option', { value: name })));
    outcome.clear();
  }

  function selector() {
    const chosen = {};
    for (const [name, control] of Object.entries(controls)) {
      const value = control.value.trim();
      if (name === 'tags')
        chosen.tags = value
          .split(',')
          .map((tag) => tag.trim())
          .filter(Boolean);
      else if (value) chosen[name] = value;
    }
    if (kind.value === 'everything') chosen.everything = true;
    if (tenant.value.trim()) chosen.tenant = tenant.value.trim();
    return chosen;
  }

  function text(chosen) {
    const { tenant: narrowed, id, ...rest } = chosen;
    const what = Object.entries(rest).map(([name, value]) =>
      name === 'everything' ? 'everything' : `${name} ${[value].flat().join(' + ')}`,
    );
    return [...what, id && `id ${id}`, narrowed && `tenant ${narrowed}`].filter(Boolean).join(', ');
  }

  async function preview() {
    const body = { cache: state.cache, selector: selector(), soft: soft.checked };
    outcome.clear();
    submit.disabled = true;
    try {
      confirmInvalidation(body, await post('api/manage/invalidate', { ...body, preview: true }));
    } catch (error) {
      outcome.show('warning', error.message);
    } finally {
      submit.disabled = false;
    }
  }

  function confirmInvalidation(body, found) {
    const least = found.complete ? '' : 'at least ';
    openDialog({
      title: 'Invalidate?',
      testid: 'invalidate-dialog',
      asks: true,
      body: [
        h(
          'p',
          {},
          body.soft ? 'Marks as stale: ' : 'Drops: ',
          said(text(body.selector), 'code'),
          ' in cache ',
          said(body.cache, 'code'),
          '.',
        ),
        h(
          'p',
          { class: 'figure', 'data-testid': 'invalidate-entries', 'data-value': found.entries },
          `${least}${plural(found.entries, 'entry', 'entries')}`,
        ),
        h(
          'p',
          { class: 'muted' },
          `${bytes(found.bytes)} in memory`,
          found.stored_entries
            ? `; ${least}${plural(found.stored_entries, 'entry', 'entries')}, ${bytes(found.stored_bytes)}, in stores`
            : '',
          '.',
        ),
        found.complete
          ? null
          : h('p', { class: 'muted' }, 'The count was broken off: there may be more. All of it is invalidated.'),
      ],
      actions: (close) => {
        const button = h(
          'button',
          { type: 'button', class: body.soft ? 'primary' : 'danger', 'data-testid': 'invalidate-confirm' },
          `Invalidate ${least}${plural(found.entries, 'entry', 'entries')}`,
        );
        button.addEventListener('click', async () => {
          button.disabled = true;
          try {
            const answer = await post('api/manage/invalidate', { ...body, preview: false });
            if (answer.confirmed)
              outcome.show(
                'good',
                `Invalidated ${text(body.selector)}: ${plural(answer.entries ?? found.entries, 'entry', 'entries')}.`,
              );
            else
              outcome.show(
                'warning',
                `Invalidated here, not confirmed elsewhere: ${answer.message ?? 'the shared log could not be written'}`,
              );
          } catch (error) {
            outcome.show('warning', error.message);
          }
          close();
          done();
        });
        return [
          h(
            'button',
            { type: 'button', autofocus: true, onclick: close, 'data-testid': 'invalidate-cancel' },
            'Cancel',
          ),
          button,
        ];
      },
    });
  }

  draw();
  return {
    node: h(
      'form',
      {
        class: 'panel',
        'aria-labelledby': 'invalidate-title',
        'data-testid': 'invalidate-form',
        onsubmit: (event) => {
          event.preventDefault();
          preview();
        },
      },
      h('h2', { id: 'invalidate-title' }, 'Invalidate'),
      all,
      outcome.node,
    ),
    update() {
      all.disabled = whyNot() !== null;
      const only = app.status.access?.tenant;
      if (only && !tenant.disabled) {
        tenant.value = only;
        tenant.disabled = true;
        draw();
      }
    },
  };
}
