// Ticks and scales of charts: pure functions.

/** Round ticks from 0 to at least `most`, about `want` of them. */
function linearTicks(most, want, binary = false) {
  const rough = (most || 1) / want;
  const unit = binary ? 1024 ** Math.floor(Math.log2(rough || 1) / 10) : 10 ** Math.floor(Math.log10(rough));
  const steps = binary
    ? [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 512, 1024]
    : [1, 2, 2.5, 5, 10];
  const step = unit * (steps.find((each) => each * unit >= rough) ?? steps.at(-1));
  const ticks = [];
  for (let at = 0; at < most + step * 0.999 && ticks.length < 20; at += step) ticks.push(at);
  return ticks.length > 1 ? ticks : [0, step];
}

/** Powers of ten around the values, so few that their labels have room. */
function logTicks(least, most, want) {
  const from = Math.floor(Math.log10(least) + 1e-9);
  const to = Math.max(from + 1, Math.ceil(Math.log10(most) - 1e-9));
  const step = Math.ceil((to - from) / want);
  const ticks = [];
  for (let power = from; power < to + step; power += step) ticks.push(10 ** power);
  return ticks;
}

/** Full minutes, hours or days of the local time between two times. */
function timeTicks(from, to, want) {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];
  const step = steps.find((each) => (to - from) / each <= want) ?? steps.at(-1);
  const offset = new Date(from * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) ticks.push(at);
  return ticks.map((at) => [
    at,
    step >= 86400 || (step >= 21600 && new Date(at * 1000).getHours() === 0) ? day(at) : minute(at),
  ]);
}

function minute(at) {
  const date = new Date(at * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** The index of the sample nearest to a time. */
function nearest(samples, at) {
  let low = 0;
  let high = samples.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle].at < at) low = middle + 1;
    else high = middle;
  }
  return low > 0 && at - samples[low - 1].at < samples[low].at - at ? low - 1 : low;
}

/** Indices of neighbours without a gap between them: over one there is no line. */
function runs(samples, step, has) {
  const found = [];
  let run = [];
  samples.forEach((sample, at) => {
    if (run.length && (!has(sample) || sample.at - samples[at - 1].at > step * 1.9)) {
      found.push(run);
      run = [];
    }
    if (has(sample)) run.push(at);
  });
  if (run.length) found.push(run);
  return found;
}
