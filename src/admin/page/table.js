// A table that is sorted by its headers. Rows keep their elements while figures move, so that a selection stays.

/**
 * Columns: `{id, label, value(row), text?(row), node?(row), num, help, fixed}`; the first one is the row's header.
 * `value` sorts, `text` is shown (by default the value) and says whether a cell changed, `node` builds the cell.
 * `fixed` cannot be sorted by. With `onsort` the server sorts, and rows are shown as they come.
 */
function table({ name, caption, columns, key, empty, sort, onsort, limit = 25, hiddenCaption = false, testid }) {
  let [by, order] = recall(`sort:${name}`, sort ?? [null, 'desc']);
  if (by !== null && !columns.some((column) => column.id === by && !column.fixed))
    [by, order] = sort ?? [null, 'desc'];
  let all = false;
  let rows = [];
  const kept = new Map();
  const body = h('tbody');
  const heads = columns.map((column) => {
    const label = column.fixed
      ? column.label
      : h(
          'button',
          { type: 'button', class: 'sort', title: column.help, onclick: () => sortBy(column) },
          column.label,
        );
    return h('th', { scope: 'col', class: column.num ? 'num' : '', title: column.fixed ? column.help : null }, label);
  });
  const nothing = h('p', { class: 'muted empty' }, empty ?? 'Nothing yet.');
  const more = h('button', {
    type: 'button',
    class: 'small',
    onclick: () => {
      all = !all;
      draw();
    },
  });
  const grid = h(
    'table',
    { 'data-testid': testid },
    h('caption', { class: hiddenCaption ? 'unseen' : '' }, caption),
    h('thead', {}, h('tr', {}, heads)),
    body,
  );
  const scroll = scroller(caption, grid);
  const node = h('div', { class: 'table' }, scroll, nothing, more);

  function sortBy(column) {
    order = by === column.id ? (order === 'asc' ? 'desc' : 'asc') : column.num ? 'desc' : 'asc';
    by = column.id;
    remember(`sort:${name}`, [by, order]);
    if (onsort) onsort(by, order);
    draw();
  }

  function sorted() {
    const column = columns.find((each) => each.id === by);
    if (!column || onsort) return rows;
    const sign = order === 'asc' ? 1 : -1;
    const missing = (value) => value === null || value === undefined || Number.isNaN(value);
    // What has no value is last, whichever way.
    return rows
      .map((row) => [column.value(row), row])
      .sort(([a], [b]) =>
        missing(a) || missing(b)
          ? missing(a) - missing(b)
          : sign *
            (typeof a === 'number' && typeof b === 'number'
              ? a - b
              : String(a).localeCompare(String(b), 'en', { numeric: true })),
      )
      .map(([, row]) => row);
  }

  function show(row) {
    const id = key(row);
    let record = kept.get(id);
    if (!record) {
      const cells = columns.map((column, at) =>
        h(at ? 'td' : 'th', { class: column.num ? 'num' : '', scope: at ? null : 'row' }),
      );
      record = { tr: h('tr', {}, cells), cells, texts: [] };
      kept.set(id, record);
    }
    columns.forEach((column, at) => {
      const text = String(column.text ? column.text(row) : (column.value(row) ?? NONE));
      if (record.texts[at] === text) return;
      record.texts[at] = text;
      record.cells[at].replaceChildren(column.node ? column.node(row) : column.num ? text : clipped(text));
    });
    return record.tr;
  }

  function draw() {
    columns.forEach((column, at) => {
      if (column.fixed) return;
      setAttribute(heads[at], 'aria-sort', column.id !== by ? 'none' : order === 'asc' ? 'ascending' : 'descending');
    });
    const visible = all ? sorted() : sorted().slice(0, limit);
    const shownRows = visible.map(show);
    shownRows.forEach((row, at) => {
      if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    });
    while (body.children.length > shownRows.length) body.lastChild.remove();
    const present = new Set(visible.map(key));
    for (const id of kept.keys()) if (!present.has(id)) kept.delete(id);
    setHidden(nothing, rows.length > 0);
    setHidden(scroll, rows.length === 0);
    setHidden(more, rows.length <= limit);
    setText(more, all ? `Show the first ${limit}` : `Show all ${exact(rows.length)}`);
  }

  return {
    node,
    update: (given) => {
      rows = given;
      draw();
    },
    clear: () => kept.clear(),
    sorting: () => [by, order],
  };
}

/** A share of the most, as a bar; the figure beside it says the same. */
const bar = (share, kind = '') =>
  svg(
    'svg',
    { class: `meter ${kind}`, 'aria-hidden': 'true' },
    svg('rect', { class: 'track', width: '100%', height: '100%', rx: 2 }),
    svg('rect', { class: 'filled', width: `${Math.max(0, Math.min(1, share || 0)) * 100}%`, height: '100%', rx: 2 }),
  );

/** A column of figures. */
const plain = (id, label, value, format, more) => ({
  id,
  label,
  num: true,
  value,
  text: (row) => format(value(row)),
  ...more,
});
