// The policies in force, with all that they say; defaults are dimmed.

function policiesView() {
  const filter = input({
    type: 'search',
    'aria-label': 'Filter policies',
    placeholder: 'Filter by name or route',
    'data-testid': 'policies-filter',
    oninput: () => draw(),
  });
  const withDefaults = h('input', {
    type: 'checkbox',
    onchange: () => {
      remember('defaults', withDefaults.checked);
      draw();
    },
  });
  const list = h('div', { class: 'policy-list', 'data-testid': 'policies-in-force' });
  const load = loader(list);
  let policies = [];

  function draw() {
    const wanted = filter.value.trim().toLowerCase();
    const some = policies.filter((policy) => `${policy.name} ${policy.route ?? ''}`.toLowerCase().includes(wanted));
    list.replaceChildren(
      ...(some.length
        ? some.map(card)
        : [h('p', { class: 'muted empty' }, policies.length ? 'No policy matches.' : 'No policies.')]),
    );
  }

  function card(policy) {
    const settings = (policy.settings ?? []).filter((setting) => withDefaults.checked || !setting.default);
    const id = newId('policy');
    return h(
      'section',
      { class: 'panel', 'aria-labelledby': id },
      h(
        'div',
        { class: 'card-head' },
        h('h2', { id }, said(policy.name)),
        policy.kind === 'value' ? badge('value', '') : null,
        policy.route ? said(policy.route, 'muted code') : null,
        policy.objective ? h('small', { class: 'muted' }, `objective ${objectiveText(policy.objective)}`) : null,
      ),
      (policy.warnings ?? []).map((text) => notice('warning', said(text))),
      policy.depends_on?.length
        ? h('div', { class: 'key' }, h('span', { class: 'muted' }, 'Depends on'), chips(policy.depends_on))
        : null,
      policy.tags?.length
        ? h('div', { class: 'key' }, h('span', { class: 'muted' }, 'Tags'), chips(policy.tags))
        : null,
      settings.length
        ? h(
            'dl',
            { class: 'settings' },
            settings.map((setting) =>
              h(
                'div',
                { class: setting.default ? 'default' : '' },
                h('dt', {}, said(setting.name)),
                h(
                  'dd',
                  {},
                  said(setting.value),
                  setting.default ? h('span', { class: 'unseen' }, ' (default)') : null,
                ),
              ),
            ),
          )
        : h('p', { class: 'muted' }, 'Nothing but defaults.'),
    );
  }

  return {
    id: 'policies',
    title: 'Policies',
    uses: [],
    build: () => [h('div', { class: 'toolbar' }, filter, check('Show defaults', withDefaults)), list],
    enter() {
      withDefaults.checked = recall('defaults', true);
      load(
        () => get('api/policies', { cache: state.cache }),
        (answer) => {
          policies = (answer.caches ?? []).find((cache) => cache.name === state.cache)?.policies ?? [];
          draw();
        },
      );
    },
  };
}
