// Why a request would be served or not, step by step; and the policies that say so.

const OUTCOME_KINDS = {
  hit: 'hit',
  stale: 'stale',
  revalidated: 'revalidated',
  collapsed: 'collapsed',
  miss: 'miss',
  bypass: 'bypass',
};

function explainView() {
  const fields = {
    method: h(
      'select',
      { 'data-testid': 'explain-method' },
      ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'].map((name) => h('option', {}, name)),
    ),
    uri: input({ required: true, placeholder: '/products?page=2', 'data-testid': 'explain-uri' }),
    policy: h('select', { 'data-testid': 'explain-policy' }),
    tenant: input({ 'data-testid': 'explain-tenant' }),
    user: input({ 'data-testid': 'explain-user' }),
    headers: h('textarea', {
      rows: 3,
      spellcheck: 'false',
      placeholder: 'Accept-Language: en',
      'data-testid': 'explain-headers',
    }),
  };
  const result = h('div', { 'data-testid': 'explain-result' });
  const load = loader(result);

  function ask() {
    const values = Object.fromEntries(Object.entries(fields).map(([name, control]) => [name, control.value.trim()]));
    const { headers, ...query } = values;
    const lines = headers
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);
    // Headers may hold credentials: only the rest is kept.
    remember('explain', query);
    const wrong = lines.find((line) => !/^[^\s:]+:/.test(line));
    if (wrong) {
      result.replaceChildren(
        notice('warning', 'Not a header field: ', said(wrong, 'code'), '. Write one a line, as “Name: value”.'),
      );
      return;
    }
    load(
      () => get('api/explain', { cache: state.cache, ...query, header: lines }),
      (answer) => {
        const all = answer.explanations ?? [];
        result.replaceChildren(
          all.length > 1
            ? h('p', {}, 'Only the router knows which policy this request comes to. Under each that it may be:')
            : '',
          ...all.map((each) => h('article', { class: 'explanation', 'data-testid': 'explanation' }, explanation(each))),
          all.some((each) => each.reason === 'identity-missing')
            ? h('p', {}, 'Where the identity is missing: fill in tenant and user, as an IdentityLayer would give them.')
            : '',
          answer.omitted ? h('p', { class: 'muted' }, `${plural(answer.omitted, 'policy', 'policies')} left out.`) : '',
        );
        announce(all.map((each) => `${each.policy ?? ''}: ${each.outcome}. ${each.reason ?? ''}`).join(' '));
      },
    );
  }

  const explanation = (answer) => [
    h(
      'p',
      { class: 'verdict' },
      answer.policy ? h('b', {}, 'policy ', said(answer.policy, 'code')) : null,
      h(
        'span',
        { class: `badge outcome ${OUTCOME_KINDS[answer.outcome] ?? ''}`, 'data-testid': 'explain-outcome' },
        shown(answer.outcome),
      ),
      answer.reason ? said(answer.reason) : null,
    ),
    h(
      'ol',
      { class: 'steps', 'data-testid': 'explain-steps' },
      (answer.steps ?? []).map((step) =>
        h('li', {}, h('b', {}, said(step.name)), h('span', { class: 'prose' }, said(step.text))),
      ),
    ),
    answer.key ? h('div', { class: 'key' }, said(answer.key, 'code'), copyButton(answer.key)) : '',
    answer.key_parts?.length
      ? scroller(
          'Parts of the key',
          h(
            'table',
            {},
            h('caption', {}, 'Parts of the key'),
            h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Part'), h('th', { scope: 'col' }, 'Value'))),
            h(
              'tbody',
              {},
              answer.key_parts.map((part) =>
                h('tr', {}, h('th', { scope: 'row' }, said(part.name)), h('td', {}, said(part.value, 'code'))),
              ),
            ),
          ),
        )
      : '',
  ];

  return {
    id: 'explain',
    title: 'Explain',
    uses: [],
    build: () => [
      h(
        'div',
        { class: 'split' },
        h(
          'form',
          {
            class: 'panel fields',
            'aria-label': 'Request to explain',
            'data-testid': 'explain-form',
            onsubmit: (event) => {
              event.preventDefault();
              ask();
            },
          },
          h(
            'p',
            { class: 'muted wide-field' },
            'What would happen to a request now. Nothing is asked of the application, nothing is changed.',
          ),
          field('Method', fields.method),
          h('div', { class: 'wide-field' }, field('URI', fields.uri)),
          field('Tenant', fields.tenant),
          field('User', fields.user),
          field('Policy', fields.policy),
          h('div', { class: 'wide-field' }, field('Headers', fields.headers, 'One on each line')),
          h(
            'div',
            { class: 'buttons' },
            h('button', { class: 'primary', type: 'submit', 'data-testid': 'explain-submit' }, 'Explain'),
          ),
        ),
        panel('Decision', {}, result),
      ),
    ],
    update() {
      const chosen = fields.policy.value;
      options(fields.policy, [['', 'any that it may be'], ...policyNames().map((name) => [name, name])]);
      fields.policy.value = policyNames().includes(chosen) ? chosen : '';
    },
    enter() {
      const last = recall('explain', {});
      for (const [name, control] of Object.entries(fields)) if (last[name]) control.value = last[name];
      this.update();
      if (app.status.access?.tenant) {
        fields.tenant.value = app.status.access.tenant;
        fields.tenant.disabled = true;
      }
      result.replaceChildren(h('p', { class: 'muted empty' }, 'Describe a request, and its steps appear here.'));
    },
  };
}
