// Warming and clearing.

function warmForm(done) {
  const categories = h('fieldset', { class: 'plain wide-field' });
  const tenant = input({ 'data-testid': 'warm-tenant' });
  const force = h('input', { type: 'checkbox', 'data-testid': 'warm-force' });
  const outcome = outcomeBox('warm-result');
  const progress = h('div', { class: 'progress', hidden: true, 'data-testid': 'warm-progress' });
  const meter = h('progress', { 'aria-label': 'Progress of warming', max: 1, value: 0 });
  const progressText = h('span', { class: 'muted' });
  const failed = h('ul', { class: 'failures' });
  progress.append(meter, progressText, failed);
  const start = h('button', { class: 'primary', type: 'submit', 'data-testid': 'warm-start' }, 'Warm…');
  const all = h(
    'fieldset',
    { class: 'plain fields' },
    categories,
    field('Tenant', tenant, 'Optional: for one tenant only'),
    h('div', { class: 'wide-field' }, check('Also what is fresh still (force)', force)),
    h('div', { class: 'buttons' }, start),
  );
  const none = h('p', { class: 'muted' }, 'The application gave no warmer.');
  let following = null;

  const chosen = () => [...categories.querySelectorAll('input:checked')].map((box) => box.value);

  /** A dry run is the preview. */
  async function preview() {
    const body = {
      cache: state.cache,
      categories: chosen(),
      tenant: tenant.value.trim() || null,
      force: force.checked,
    };
    outcome.clear();
    if (!body.categories.length) return outcome.show('warning', 'Choose at least one category.');
    start.disabled = true;
    try {
      const found = await post('api/manage/warm', { ...body, dry_run: true });
      openDialog({
        title: 'Warm?',
        testid: 'warm-dialog',
        asks: true,
        body: [
          h(
            'p',
            { class: 'figure', 'data-testid': 'warm-requests', 'data-value': found.of },
            plural(found.of ?? 0, 'request'),
          ),
          h(
            'ul',
            { class: 'plain' },
            (found.would ?? []).map((each) =>
              h('li', {}, said(each.category), `: ${plural(each.requests, 'request')}`),
            ),
          ),
          h(
            'p',
            { class: 'muted' },
            body.force ? 'All of them are asked of the application.' : 'What is fresh still is skipped.',
          ),
        ],
        actions: (close) => [
          h('button', { type: 'button', autofocus: true, onclick: close, 'data-testid': 'warm-cancel' }, 'Cancel'),
          h(
            'button',
            {
              type: 'button',
              class: 'primary',
              'data-testid': 'warm-confirm',
              onclick: () => {
                close();
                run(body);
              },
            },
            `Warm ${plural(found.of ?? 0, 'request')}`,
          ),
        ],
      });
    } catch (error) {
      outcome.show('warning', error.message);
    } finally {
      start.disabled = false;
    }
    return undefined;
  }

  async function run(body) {
    try {
      const { job } = await post('api/manage/warm', { ...body, dry_run: false });
      announce('Warming has started');
      follow(job);
      done();
    } catch (error) {
      outcome.show('warning', error.message);
    }
  }

  /** Asks for a job until it is over, also if the server is away for a while. */
  async function follow(job) {
    following = job;
    let misses = 0;
    while (following === job) {
      try {
        const now = await get('api/manage/warm', { cache: state.cache, job });
        misses = 0;
        show(now);
        if (now.state !== 'running') {
          following = null;
          const text = `Warming ${now.state === 'done' ? 'is done' : 'has failed'}: ${progressOf(now)}.`;
          outcome.show(now.state === 'done' && !now.failed ? 'good' : 'warning', text);
          done();
        }
      } catch (error) {
        misses += 1;
        if (error.status || misses > 20) {
          following = null;
          outcome.show('warning', error.message);
        }
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 1000);
      });
    }
  }

  function show(now) {
    setHidden(progress, false);
    meter.max = Math.max(1, now.of ?? 0);
    meter.value = now.done ?? 0;
    setText(progressText, `${shown(now.category)} · ${exact(now.done)} of ${exact(now.of)} · ${progressOf(now)}`);
    failed.replaceChildren(...(now.failures ?? []).slice(0, 20).map((text) => h('li', {}, said(text, 'code'))));
  }

  return {
    node: h(
      'form',
      {
        class: 'panel',
        'aria-labelledby': 'warm-title',
        'data-testid': 'warm-form',
        onsubmit: (event) => {
          event.preventDefault();
          preview();
        },
      },
      h('h2', { id: 'warm-title' }, 'Warm'),
      none,
      all,
      progress,
      outcome.node,
    ),
    update() {
      const warmer = app.cache.warmer;
      setHidden(none, Boolean(warmer));
      setHidden(all, !warmer);
      if (!warmer) return;
      all.disabled = whyNot() !== null;
      const only = app.status.access?.tenant;
      if (only) {
        tenant.value = only;
        tenant.disabled = true;
      }
      const signature = JSON.stringify(warmer.categories);
      if (categories.dataset.signature !== signature) {
        categories.dataset.signature = signature;
        categories.replaceChildren(
          h('legend', {}, 'Categories'),
          ...warmer.categories.map((each) =>
            check(
              h(
                'span',
                {},
                said(each.name),
                h(
                  'small',
                  { class: 'muted' },
                  ` priority ${each.priority}${isNumber(each.targets) ? `, ${plural(each.targets, 'target')}` : ''}`,
                ),
              ),
              h('input', { type: 'checkbox', value: each.name, 'data-testid': 'warm-category' }),
            ),
          ),
        );
      }
      // Started elsewhere, or before a reload.
      if (warmer.running && following === null) follow(warmer.running.job);
    },
  };
}

const progressOf = (job) => `${exact(job.warmed)} warmed, ${exact(job.skipped)} skipped, ${exact(job.failed)} failed`;

function clearForm(done) {
  const outcome = outcomeBox('clear-result');
  const open = h(
    'button',
    { type: 'button', class: 'danger', 'data-testid': 'clear-open', onclick: () => confirm() },
    'Clear…',
  );
  const why = h('p', { class: 'muted', id: 'clear-why' });

  function confirm() {
    const { name, memory: held } = app.cache;
    const typed = input({ 'data-testid': 'clear-name' });
    const button = h(
      'button',
      { type: 'submit', class: 'danger', disabled: true, 'data-testid': 'clear-confirm' },
      `Clear ${plural(held?.resources ?? 0, 'resource')}`,
    );
    typed.addEventListener('input', () => {
      button.disabled = typed.value !== name;
    });
    const form = h(
      'form',
      {
        onsubmit: async (event) => {
          event.preventDefault();
          if (typed.value !== name) return;
          button.disabled = true;
          try {
            const answer = await post('api/manage/clear', { cache: name, confirm: typed.value });
            outcome.show('good', `Cleared ${name}: ${plural(answer.entries ?? 0, 'entry', 'entries')} dropped.`);
          } catch (error) {
            outcome.show('warning', error.message);
          }
          dialog.close();
          done();
        },
      },
      h(
        'p',
        {},
        'Drops all that this process holds in memory, and invalidates everything, for all processes. ',
        'Every request is a miss at first.',
      ),
      h(
        'p',
        { class: 'figure', 'data-testid': 'clear-entries', 'data-value': held?.resources },
        `${plural(held?.resources ?? 0, 'resource')}, ${bytes(held?.used_bytes)}`,
      ),
      field(h('span', {}, 'Type ', said(name, 'code'), ' to confirm'), typed),
      h(
        'div',
        { class: 'buttons' },
        h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'),
        button,
      ),
    );
    const dialog = openDialog({ title: 'Clear the cache?', testid: 'clear-dialog', body: form, asks: true });
    typed.focus();
  }

  return {
    node: h(
      'section',
      { class: 'panel', 'aria-labelledby': 'clear-title' },
      h('h2', { id: 'clear-title' }, 'Clear'),
      h('p', { class: 'muted' }, 'Empties the whole cache. To make part of it be made again, invalidate.'),
      h('div', { class: 'buttons' }, open),
      why,
      outcome.node,
    ),
    update() {
      const reason = whyNot({ whole: true });
      open.disabled = reason !== null;
      // That nothing is allowed stands above the forms.
      setText(why, whyNot() ? '' : (reason ?? ''));
      if (why.textContent) open.setAttribute('aria-describedby', why.id);
    },
  };
}
