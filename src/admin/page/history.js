// The charts of the overview.

function historyCharts() {
  const rate = (counted) => (sample, step) => counted(sample) / step;
  return [
    timeChart({
      id: 'outcomes',
      title: 'Requests by outcome',
      unit: 'per second',
      stacked: true,
      wide: true,
      format: perSecond,
      series: [
        ['Hit', 'hit', 'hits'],
        ['Stale', 'stale', 'stale'],
        ['Revalidated', 'revalidated', 'revalidated'],
        ['Collapsed', 'collapsed', 'collapsed'],
        ['Miss', 'miss', 'misses'],
        ['Bypass', 'bypass', 'bypasses'],
      ].map(([name, kind, member]) => ({ name, kind, value: rate((sample) => sample[member] ?? 0) })),
    }),
    timeChart({
      id: 'hit-ratio',
      title: 'Hit ratio',
      most: 1,
      area: true,
      format: percent,
      series: [
        { name: 'Lookup hit ratio', kind: 'hit', value: lookupHitRatio },
        { name: 'Hit ratio', kind: 'bypass dashed', value: hitRatio },
      ],
    }),
    timeChart({
      id: 'latency',
      title: 'Latency',
      unit: 'logarithmic',
      log: true,
      format: span,
      series: [
        { name: 'Hit p50', kind: 'hit', value: (sample) => sample.hit_p50_seconds },
        { name: 'Hit p95', kind: 'hit dashed', value: (sample) => sample.hit_p95_seconds },
        { name: 'Miss p50', kind: 'miss', value: (sample) => sample.miss_p50_seconds },
        { name: 'Miss p95', kind: 'miss dashed', value: (sample) => sample.miss_p95_seconds },
      ],
    }),
    timeChart({
      id: 'bytes',
      title: 'Held in memory',
      binary: true,
      area: true,
      format: bytes,
      series: [{ name: 'Bytes', kind: 'hit', value: (sample) => sample.used_bytes }],
    }),
    timeChart({
      id: 'removals',
      title: 'Evictions and invalidations',
      unit: 'per minute',
      top: 1,
      format: perSecond,
      series: [
        { name: 'Evictions', kind: 'miss', value: rate((sample) => 60 * sample.evictions) },
        { name: 'Invalidations', kind: 'collapsed', value: rate((sample) => 60 * sample.invalidations) },
      ],
    }),
    timeChart({
      id: 'lag',
      title: 'Log lag',
      format: span,
      top: 0.001,
      area: true,
      absent: () =>
        app.cache?.log?.kind === 'shared' ? null : 'The log is this process’s own: nothing to wait for.',
      series: [{ name: 'Lag', kind: 'revalidated', value: (sample) => sample.log_lag_seconds }],
    }),
  ];
}
