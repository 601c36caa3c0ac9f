// What is invalidated by what: the graph of dependencies, drawn and as a table.

const NODE = { width: 160, height: 24, gapX: 44, gapY: 9, pad: 12, most: 400 };
const KIND_TEXT = { name: 'name', tag: 'tag', policy: 'policy', value: 'value' };

function graphView() {
  const filter = input({
    type: 'search',
    'aria-label': 'Filter the graph',
    placeholder: 'Filter: a name and all it touches',
    'data-testid': 'graph-filter',
    oninput: () => draw(),
  });
  const box = h('div', {});
  const load = loader(box);
  const readout = h('p', { class: 'graph-readout', role: 'status' });
  const listing = table({
    name: 'graph',
    caption: 'Dependencies',
    hiddenCaption: true,
    testid: 'graph-table',
    key: (row) => row.id,
    limit: 50,
    sort: ['kind', 'asc'],
    empty: 'No dependencies.',
    columns: [
      { id: 'label', label: 'Node', value: (row) => row.label },
      { id: 'kind', label: 'Kind', value: (row) => KIND_TEXT[row.kind] ?? row.kind },
      {
        id: 'affects',
        label: 'Affects directly',
        value: (row) => row.out.map((edge) => edge.to.label).join(', '),
        node: (row) => (row.out.length ? chips(row.out.map((edge) => edge.to.label)) : NONE),
      },
      {
        id: 'by',
        label: 'Affected by directly',
        value: (row) => row.in.map((edge) => edge.from.label).join(', '),
        node: (row) => (row.in.length ? chips(row.in.map((edge) => edge.from.label)) : NONE),
      },
      { id: 'reach', label: 'Affects in all', num: true, value: (row) => row.reach, text: (row) => count(row.reach) },
    ],
  });
  let graph = { nodes: [], edges: [] };
  let chosen = null;
  let drawn = new Map();

  /** What the filter leaves: the nodes with the text, and all before and behind them. */
  function visible() {
    const wanted = filter.value.trim().toLowerCase();
    if (!wanted) return graph;
    const all = layered(graph.nodes, graph.edges);
    const some = new Set();
    for (const node of all.nodes.filter((each) => String(each.label).toLowerCase().includes(wanted))) {
      for (const each of [node, ...reach(node, true), ...reach(node, false)]) some.add(each.id);
    }
    return { nodes: graph.nodes.filter((node) => some.has(node.id)), edges: graph.edges };
  }

  function draw() {
    const { nodes, edges } = visible();
    const placed = layered(nodes, edges);
    for (const node of placed.nodes) node.reach = reach(node, true).size;
    listing.clear();
    listing.update(placed.nodes);
    drawn = new Map();
    setText(readout, nodes.length ? 'Point at a node, or walk with the arrow keys, to see what it touches.' : '');
    if (!nodes.length)
      return box.replaceChildren(
        h(
          'p',
          { class: 'muted empty' },
          graph.nodes.length ? 'Nothing matches.' : 'No policy or value depends on anything yet.',
        ),
      );
    if (nodes.length > NODE.most)
      return box.replaceChildren(
        notice('info', `${exact(nodes.length)} nodes are too many for a picture: filter them, or read the table.`),
      );
    return box.replaceChildren(scroller('Graph of dependencies', picture(placed)));
  }

  function picture({ layers, nodes, edges }) {
    const rowOf = (node) => (node.bend ? 0.4 : 1) * (NODE.height + NODE.gapY);
    const sum = (layer) => layer.reduce((total, node) => total + rowOf(node), 0);
    const room = Math.max(...layers.map(sum));
    const height = room + 2 * NODE.pad + 20;
    const spare = (box.clientWidth - 2 * NODE.pad - 20 - layers.length * NODE.width) / Math.max(1, layers.length - 1);
    const gap = Math.max(NODE.gapX, Math.min(140, spare));
    const width = layers.length * (NODE.width + gap) - gap + 2 * NODE.pad + 20;
    layers.forEach((layer, column) => {
      const stretch = Math.min(room / sum(layer), 2.5);
      let y = NODE.pad + (room - stretch * sum(layer)) / 2;
      for (const node of layer) {
        node.x = NODE.pad + column * (NODE.width + gap);
        node.y = y + (stretch * rowOf(node) - NODE.height) / 2;
        y += stretch * rowOf(node);
      }
    });
    const lines = edges.map((edge) => {
      const path = svg('path', { class: `edge ${edge.back ? 'back' : ''}`, d: curve(edge, height) });
      if (edge.label) path.append(svg('title', {}, shown(edge.label)));
      return [edge, path];
    });
    const shapes = nodes.map((node) => {
      const shape = svg(
        'g',
        {
          class: `node ${KIND_TEXT[node.kind] ?? ''}`,
          transform: `translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`,
          role: 'button',
          tabindex: '-1',
          'aria-label': `${KIND_TEXT[node.kind] ?? node.kind} ${shown(node.label)}`,
          'data-testid': 'graph-node',
        },
        svg('rect', { class: 'box', width: NODE.width, height: NODE.height, rx: 5 }),
        mark(node.kind),
        svg('text', { x: 26, y: 16 }, fit(node.label)),
        svg('title', {}, shown(node.label)),
      );
      const light = () => highlight(node, lines);
      shape.addEventListener('focus', light);
      shape.addEventListener('pointerenter', light);
      shape.addEventListener('click', () => shape.focus());
      shape.addEventListener('keydown', (event) => walk(event, node, layers));
      drawn.set(node, shape);
      return shape;
    });
    const start = nodes.find((node) => node.id === chosen) ?? layers[0].find((node) => !node.bend);
    drawn.get(start).setAttribute('tabindex', '0');
    const picture_ = svg(
      'svg',
      {
        class: 'graph',
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        role: 'group',
        'aria-label': `${plural(nodes.length, 'node')}, ${plural(edges.length, 'edge')}; the table below says the same`,
        'data-testid': 'graph',
      },
      svg(
        'g',
        {},
        lines.map(([, path]) => path),
      ),
      shapes,
    );
    picture_.addEventListener('pointerleave', () => highlight(null, lines));
    return picture_;
  }

  function curve({ from, to, back, via }, height) {
    if (from === to) return `M${from.x + NODE.width} ${from.y + 7}c24 -14 24 24 0 10`;
    const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
    const [x2, y2] = [to.x, to.y + NODE.height / 2];
    if (!back) {
      let path = `M${x1} ${y1}`;
      let [x, y] = [x1, y1];
      for (const [nextX, nextY, through] of [
        ...via.map((bend) => [bend.x, bend.y + NODE.height / 2, true]),
        [x2, y2, false],
      ]) {
        const half = (nextX - x) / 2;
        path += `C${x + half} ${y} ${nextX - half} ${nextY} ${nextX} ${nextY}${through ? `h${NODE.width}` : ''}`;
        [x, y] = [through ? nextX + NODE.width : nextX, nextY];
      }
      return path;
    }
    const below = Math.min(height - 4, Math.max(y1, y2) + NODE.height + 14);
    return `M${x1} ${y1}C${x1 + 40} ${y1} ${x1 + 40} ${below} ${(x1 + x2) / 2} ${below}S${x2 - 40} ${y2} ${x2} ${y2}`;
  }

  function highlight(node, lines) {
    const [after, before] = node ? [reach(node, true), reach(node, false)] : [new Set(), new Set()];
    const lit = (other) => other === node || after.has(other) || before.has(other);
    for (const [other, shape] of drawn) {
      shape.classList.toggle('dim', node !== null && !lit(other));
      shape.classList.toggle('lit', other === node);
      if (node) shape.setAttribute('tabindex', other === node ? '0' : '-1');
    }
    for (const [edge, path] of lines) {
      const on =
        node &&
        ((after.has(edge.to) && (edge.from === node || after.has(edge.from))) ||
          (before.has(edge.from) && (edge.to === node || before.has(edge.to))) ||
          (edge.from === node && edge.to === node));
      path.classList.toggle('lit', Boolean(on));
      path.classList.toggle('dim', node !== null && !on);
    }
    if (!node) return;
    chosen = node.id;
    const names = (set) => {
      const few = [...set]
        .slice(0, 8)
        .map((each) => shown(each.label))
        .join(', ');
      return set.size > 8 ? `${few} and ${set.size - 8} more` : few || 'nothing';
    };
    const who = `${KIND_TEXT[node.kind] ?? node.kind} ${shown(node.label)}`;
    setText(readout, `${who}: affects ${names(after)}; affected by ${names(before)}.`);
  }

  /** Up and down within a layer, right and left along the edges. */
  function walk(event, node, layers) {
    const real = layers.map((layer) => layer.filter((each) => !each.bend));
    const own = real[node.layer];
    const at = own.indexOf(node);
    const near = (list) => [...list].sort((a, b) => Math.abs(a.y - node.y) - Math.abs(b.y - node.y))[0];
    const goal = {
      ArrowDown: () => own[at + 1],
      ArrowUp: () => own[at - 1],
      Home: () => real[0][0],
      End: () => real.at(-1)[0],
      ArrowRight: () => near(node.out.map((edge) => edge.to)) ?? near(real[node.layer + 1] ?? []),
      ArrowLeft: () => near(node.in.map((edge) => edge.from)) ?? near(real[node.layer - 1] ?? []),
    }[event.key]?.();
    if (!goal) return;
    event.preventDefault();
    drawn.get(goal).focus();
  }

  const legend = h(
    'ul',
    { class: 'legend' },
    Object.entries({ name: 'Name', tag: 'Tag', policy: 'Policy', value: 'Value' }).map(([kind, text]) =>
      h(
        'li',
        {},
        svg('svg', { class: `node swatch ${kind}`, viewBox: '4 6 16 12', 'aria-hidden': 'true' }, mark(kind)),
        text,
      ),
    ),
  );

  return {
    id: 'dependencies',
    title: 'Dependencies',
    uses: [],
    build: () => [
      h('div', { class: 'toolbar' }, filter, legend),
      h('section', { class: 'panel', 'aria-label': 'Picture' }, readout, box),
      panel('As a table', {}, listing.node),
    ],
    enter() {
      load(
        () => get('api/dependencies', { cache: state.cache }),
        (answer) => {
          graph = { nodes: answer.nodes ?? [], edges: answer.edges ?? [] };
          draw();
        },
      );
    },
  };
}

/** Each kind has a shape of its own beside its colour. */
function mark(kind) {
  if (kind === 'tag') return svg('path', { class: 'mark', d: 'M7 8h7l4 4-4 4H7z' });
  if (kind === 'policy') return svg('rect', { class: 'mark', x: 7.5, y: 7.5, width: 9, height: 9, rx: 1.5 });
  if (kind === 'value') return svg('path', { class: 'mark', d: 'M12 6.5l5.5 5.5-5.5 5.5L6.5 12z' });
  return svg('circle', { class: 'mark', cx: 12, cy: 12, r: 5 });
}

function fit(text) {
  const all = [...shown(text)];
  return all.length > 21 ? `${all.slice(0, 20).join('')}…` : all.join('');
}
