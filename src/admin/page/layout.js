// Places the nodes of a graph in layers from left to right. Cycles are allowed: the edges that close one run backwards.

function layered(nodes, edges) {
  const known = new Map(
    nodes.map((node) => [node.id, { ...node, out: [], in: [], left: [], right: [], layer: 0, row: 0 }]),
  );
  const kept = [];
  const seen = new Set();
  for (const { from, to, label } of edges) {
    const name = JSON.stringify([from, to]);
    if (!known.has(from) || !known.has(to) || seen.has(name)) continue;
    seen.add(name);
    kept.push({ from: known.get(from), to: known.get(to), label, back: from === to, via: [] });
  }
  for (const edge of kept) {
    edge.from.out.push(edge);
    edge.to.in.push(edge);
  }
  const placed = [...known.values()];
  const order = withoutCycles(placed);
  for (const node of order) {
    for (const edge of node.out) if (!edge.back) edge.to.layer = Math.max(edge.to.layer, node.layer + 1);
  }
  // What policies and values depend on is read from the left: they stand in the last layer.
  const last = Math.max(0, ...placed.map((node) => node.layer));
  for (const node of placed) {
    if (isUser(node) && !node.out.some((edge) => !edge.back)) node.layer = last;
  }
  const layers = Array.from({ length: last + 1 }, () => []);
  for (const node of order) layers[node.layer].push(node);
  for (const edge of kept) if (!edge.back) lay(edge, layers);
  untangle(layers);
  return { layers, nodes: placed, edges: kept };
}

/** An edge over several layers gets a place in each between, so that it need not run behind nodes. */
function lay(edge, layers) {
  let before = edge.from;
  for (let layer = edge.from.layer + 1; layer < edge.to.layer; layer += 1) {
    const bend = { bend: true, layer, row: 0, left: [before], right: [] };
    before.right.push(bend);
    layers[layer].push(bend);
    edge.via.push(bend);
    before = bend;
  }
  before.right.push(edge.to);
  edge.to.left.push(before);
}

const isUser = (node) => node.kind === 'policy' || node.kind === 'value';

/** A topological order; an edge back to what is being walked is marked. */
function withoutCycles(nodes) {
  const done = [];
  const walked = new Map();
  for (const root of nodes) {
    if (walked.has(root)) continue;
    const path = [[root, 0]];
    walked.set(root, 'open');
    while (path.length) {
      const top = path.at(-1);
      const [node, at] = top;
      const edge = node.out[at];
      if (!edge) {
        walked.set(node, 'done');
        done.push(node);
        path.pop();
        continue;
      }
      top[1] += 1;
      if (walked.get(edge.to) === 'open') edge.back = true;
      else if (!walked.has(edge.to)) {
        walked.set(edge.to, 'open');
        path.push([edge.to, 0]);
      }
    }
  }
  return done.reverse();
}

/** Each layer is put in the order of the middle of its neighbours, a few times to and fro. */
function untangle(layers) {
  const number = (layer) =>
    layer.forEach((node, at) => {
      node.row = (at + 0.5) / layer.length;
    });
  layers.forEach(number);
  for (let round = 0; round < 6; round += 1) {
    const forth = round % 2 === 0;
    for (const layer of forth ? layers : [...layers].reverse()) {
      const middle = new Map(
        layer.map((node) => {
          const near = (forth ? node.left : node.right).map((other) => other.row);
          return [node, near.length ? near.reduce((a, b) => a + b, 0) / near.length : node.row];
        }),
      );
      layer.sort((a, b) => middle.get(a) - middle.get(b));
      number(layer);
    }
  }
}

/** All that is reached from a node along or against the edges, without it. */
function reach(node, along) {
  const found = new Set();
  const open = [node];
  while (open.length) {
    for (const edge of along ? open.pop().out : open.pop().in) {
      const other = along ? edge.to : edge.from;
      if (found.has(other) || other === node) continue;
      found.add(other);
      open.push(other);
    }
  }
  return found;
}
