// Charts over time. The legend is the readout: it shows the values under the cursor, else the last ones. All charts
// share one cursor, moved by pointer or, on the focused chart, by arrow keys: for screen readers it is a slider with a
// text.

const charts = new Set();
let cursorAt = null;

function moveCursor(at) {
  cursorAt = at;
  for (const chart of charts) chart.point();
}

const PAD = { left: 52, right: 10, top: 8, bottom: 20 };

/**
 * `series`: `{name, kind, value(sample, step)}`; `kind` is the class that colours it. `stacked` draws areas on each
 * other, `log` a logarithmic axis, `area` fills below the first one. The axis ends at `most`, or reaches at least
 * `top`.
 */
function timeChart({ id, title, unit, series, format, stacked, log, area, top = 0, most, binary, wide, absent }) {
  const titleId = newId('chart');
  const time = h('span', { class: 'muted chart-time' });
  const values = series.map(() => h('b', {}));
  const legend = h(
    'ul',
    { class: 'legend' },
    series.map((each, at) =>
      h(
        'li',
        {},
        svg(
          'svg',
          { class: `swatch ${each.kind}`, viewBox: '0 0 12 10', 'aria-hidden': 'true' },
          stacked ? svg('rect', { width: 12, height: 10, rx: 2 }) : svg('path', { d: 'M0 5h12' }),
        ),
        each.name,
        ' ',
        values[at],
      ),
    ),
  );
  const drawing = svg('svg', { 'aria-hidden': 'true', class: 'drawing' });
  const cursor = svg('line', { class: 'cursor' });
  const plot = h(
    'div',
    {
      class: 'plot',
      tabindex: '0',
      role: 'slider',
      'aria-orientation': 'horizontal',
      'aria-label': `${title}: point in time`,
    },
    drawing,
  );
  const nothing = h('p', { class: 'muted empty' });
  const summary = h('p', { class: 'unseen', id: newId('summary') });
  const details = h('details', { ontoggle: () => tabulate() }, h('summary', {}, 'As a table'));
  plot.setAttribute('aria-describedby', summary.id);
  const node = h(
    'section',
    { class: `panel chart ${wide ? 'span2' : ''}`, 'aria-labelledby': titleId, 'data-testid': `chart-${id}` },
    h(
      'div',
      { class: 'panel-head' },
      h('h2', { id: titleId }, title, unit ? h('small', { class: 'muted' }, ` ${unit}`) : null),
      time,
    ),
    legend,
    plot,
    nothing,
    summary,
    details,
  );
  let samples = [];
  let step = 10;
  let stale = '';
  let x = () => 0;

  const valueOf = (each, sample) => {
    const value = each.value(sample, step);
    return isNumber(value) && (!log || value > 0) ? value : null;
  };

  function update(history) {
    samples = history?.samples ?? [];
    step = history?.step_seconds ?? 10;
    const some = samples.some((sample) => series.some((each) => valueOf(each, sample) !== null));
    for (const part of [plot, legend, details]) setHidden(part, !some);
    setHidden(nothing, some);
    setText(
      nothing,
      samples.length
        ? (absent?.() ?? 'Nothing was measured in this span.')
        : 'No samples yet: the first comes within seconds.',
    );
    if (some) {
      draw();
      describe();
      tabulate();
    }
  }

  function draw() {
    const width = Math.max(200, plot.clientWidth);
    const height = Math.max(80, plot.clientHeight);
    const right = width - PAD.right;
    const bottom = height - PAD.bottom;
    const spanOf = { '1h': 3600, '24h': 86400, '7d': 604800 }[state.span];
    const to = Math.max(app.status?.now ?? 0, samples.at(-1).at);
    // A cache that has just started need not look at an empty hour.
    const from = Math.max(to - spanOf, Math.min(samples[0].at, to - 30 * step));
    x = (at) => PAD.left + ((at - from) / (to - from)) * (right - PAD.left);
    const sums = samples.map((sample) => series.map((each) => valueOf(each, sample)));
    if (stacked)
      for (const row of sums)
        row.forEach((value, at) => {
          row[at] = (value ?? 0) + (at ? row[at - 1] : 0);
        });
    const all = sums.flat().filter((value) => value !== null);
    const ticks = log
      ? logTicks(Math.min(...all), Math.max(...all), 4)
      : most
        ? [0, most / 4, most / 2, (most * 3) / 4, most]
        : linearTicks(Math.max(top, ...all), 4, binary);
    const scale = log ? Math.log10 : (value) => value;
    const [low, high] = [scale(ticks[0]), scale(ticks.at(-1))];
    const y = (value) => bottom - ((scale(value) - low) / (high - low)) * (bottom - PAD.top);
    const p = (value) => value.toFixed(1);
    const shapes = [];
    for (const level of ticks) {
      shapes.push(
        svg('line', { class: 'gridline', x1: PAD.left, x2: right, y1: p(y(level)), y2: p(y(level)) }),
        svg('text', { class: 'tick end', x: PAD.left - 6, y: p(y(level) + 3.5) }, format(level)),
      );
    }
    for (const [at, text] of timeTicks(from, to, Math.max(2, Math.floor(width / 80)))) {
      if (x(at) < PAD.left + 12 || x(at) > right - 12) continue;
      shapes.push(svg('text', { class: 'tick middle', x: p(x(at)), y: height - 5 }, text));
    }
    const lines = [];
    series.forEach((each, at) => {
      const drawn = runs(samples, step, (sample) => stacked || valueOf(each, sample) !== null);
      const place = (sample) => `${p(x(samples[sample].at))} ${p(y(sums[sample][at]))}`;
      const line = drawn.map((run) => `M${run.map(place).join('L')}${run.length === 1 ? 'h2' : ''}`).join('');
      if (stacked || (area && at === 0)) {
        const below = (sample) =>
          `${p(x(samples[sample].at))} ${p(stacked && at ? y(sums[sample][at - 1]) : bottom)}`;
        const filled = drawn
          .filter((run) => run.length > 1)
          .map((run) => `M${run.map(place).join('L')}L${[...run].reverse().map(below).join('L')}Z`)
          .join('');
        lines.push(svg('path', { class: `area ${stacked ? '' : 'faint'} ${each.kind}`, d: filled }));
      }
      if (!stacked || !at || drawn.some((run) => run.length === 1))
        lines.push(svg('path', { class: `line ${each.kind}`, d: line }));
    });
    drawing.setAttribute('viewBox', `0 0 ${width} ${height}`);
    drawing.replaceChildren(...shapes, ...lines, cursor);
    cursor.setAttribute('y1', PAD.top);
    cursor.setAttribute('y2', bottom);
    point();
  }

  function point() {
    if (!samples.length || plot.hidden) return;
    const at = cursorAt === null ? samples.length - 1 : nearest(samples, cursorAt);
    const sample = samples[at];
    series.forEach((each, index) => setText(values[index], format(valueOf(each, sample))));
    setText(time, cursorAt === null ? '' : clock(sample.at));
    cursor.setAttribute('visibility', cursorAt === null ? 'hidden' : 'visible');
    cursor.setAttribute('x1', x(sample.at).toFixed(1));
    cursor.setAttribute('x2', x(sample.at).toFixed(1));
    setAttribute(plot, 'aria-valuemin', 0);
    setAttribute(plot, 'aria-valuemax', samples.length - 1);
    setAttribute(plot, 'aria-valuenow', at);
    // Only the chart that is read changes its text: the others would be heard as noise.
    if (document.activeElement === plot || !plot.hasAttribute('aria-valuetext')) {
      const text = series.map((each) => `${each.name} ${format(valueOf(each, sample))}`).join(', ');
      setAttribute(plot, 'aria-valuetext', `${clock(sample.at)}: ${text}`);
    }
  }

  function describe() {
    const texts = series.map((each) => {
      const known = samples.map((sample) => valueOf(each, sample)).filter((value) => value !== null);
      if (!known.length) return `${each.name}: none`;
      const range = `from ${format(Math.min(...known))} to ${format(Math.max(...known))}`;
      return `${each.name}: last ${format(known.at(-1))}, ${range}`;
    });
    setText(summary, `${clock(samples[0].at)} to ${clock(samples.at(-1).at)}. ${texts.join('. ')}.`);
  }

  /** Made when opened, of at most 60 rows: the newest first. */
  function tabulate() {
    const signature = details.open ? `${samples.length}:${samples.at(-1)?.at}:${step}` : '';
    if (signature === stale) return;
    stale = signature;
    details.querySelector('.scroll')?.remove();
    if (!details.open) return;
    const every = Math.ceil(samples.length / 60);
    const picked = samples.filter((_, at) => (samples.length - 1 - at) % every === 0).reverse();
    details.append(
      scroller(
        `${title}, as a table`,
        h(
          'table',
          {},
          h('caption', { class: 'unseen' }, `${title} over time`),
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              ['Time', ...series.map((each) => each.name)].map((name, at) =>
                h('th', { scope: 'col', class: at ? 'num' : '' }, name),
              ),
            ),
          ),
          h(
            'tbody',
            {},
            picked.map((sample) =>
              h(
                'tr',
                {},
                h('th', { scope: 'row' }, clock(sample.at)),
                series.map((each) => h('td', { class: 'num' }, format(valueOf(each, sample)))),
              ),
            ),
          ),
        ),
      ),
    );
  }

  function toPointer(event) {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
    const [first, last] = [x(samples[0].at), x(samples.at(-1).at)];
    const wanted = PAD.left + Math.max(0, Math.min(1, share)) * (box.width - PAD.left - PAD.right);
    const between = last > first ? (wanted - first) / (last - first) : 1;
    moveCursor(samples[0].at + Math.max(0, Math.min(1, between)) * (samples.at(-1).at - samples[0].at));
  }

  plot.addEventListener('pointermove', toPointer);
  plot.addEventListener('pointerdown', toPointer);
  plot.addEventListener('pointerleave', () => {
    if (document.activeElement !== plot) moveCursor(null);
  });
  plot.addEventListener('blur', () => moveCursor(null));
  plot.addEventListener('keydown', (event) => {
    const now = cursorAt === null ? samples.length - 1 : nearest(samples, cursorAt);
    const page = Math.ceil(samples.length / 12);
    const moved = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      PageDown: now - page,
      PageUp: now + page,
      Home: 0,
      End: samples.length - 1,
    }[event.key];
    if (event.key === 'Escape') moveCursor(null);
    if (moved === undefined) return;
    event.preventDefault();
    moveCursor(samples[Math.max(0, Math.min(samples.length - 1, moved))].at);
  });

  const chart = {
    node,
    update,
    point,
    draw: () => {
      if (samples.length && !plot.hidden) draw();
    },
  };
  charts.add(chart);
  return chart;
}

/** Charts are drawn at the width that they have. */
const resized = new ResizeObserver(() => {
  for (const chart of charts) if (chart.node.isConnected) chart.draw();
});
