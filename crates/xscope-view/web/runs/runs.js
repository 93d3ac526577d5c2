// The run browser: a list that is filtered, the trend of one figure, two runs to compare.
(function () {
  'use strict';

  const $ = function (id) { return document.getElementById(id); };
  const SVG = 'http://www.w3.org/2000/svg';
  let runs = [];
  const chosen = new Set();
  const FIRST = ['latency.p50_ms', 'results.latency.p50_ms', 'latency.mean_ms'];

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function drawn(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function short(value) { return value.toLocaleString('en-US', { maximumSignificantDigits: 5 }); }
  function place(run) { return 'run/' + encodeURIComponent(run.id) + '/'; }

  function shown() {
    const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    return runs.filter(function (run) {
      const text = [run.id, run.status, run.target, run.model, run.hardware, run.commit, run.command].join(' ').toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  function show() {
    const rows = shown(), figure = $('figure').value;
    $('head').textContent = figure;
    $('rows').replaceChildren(...rows.map((run) => line(run, figure)));
    $('said').textContent = rows.length + ' of ' + runs.length + ' runs' + (chosen.size ? ', ' + chosen.size + ' ticked' : '');
    $('compare').disabled = chosen.size !== 2;
    trend(rows, figure);
  }

  function line(run, figure) {
    const row = element('tr', undefined, chosen.has(run.id) ? 'chosen' : '');
    const tick = element('input'), cell = element('td'), name = element('td'), link = element('a');
    tick.type = 'checkbox';
    tick.checked = chosen.has(run.id);
    tick.setAttribute('aria-label', 'Compare ' + run.id);
    tick.addEventListener('change', function () {
      if (tick.checked) chosen.add(run.id); else chosen.delete(run.id);
      show();
    });
    cell.append(tick);
    link.href = place(run);
    link.append(element('bdi', run.id));
    name.append(link);
    for (const issue of run.issues) name.append(element('span', issue, 'issue'));
    const report = element('td'), to = element('a', 'report');
    to.href = place(run) + 'report';
    report.append(to);
    const value = run.figures[figure];
    row.append(cell, name, element('td', run.status, 'status-' + run.status),
      element('td', run.started_ms ? new Date(run.started_ms).toISOString().replace('T', ' ').slice(0, 19) : 'unknown', 'faint'),
      element('td', run.model), element('td', run.hardware, 'faint'), element('td', run.commit.slice(0, 10), 'faint'),
      element('td', value === undefined ? 'unknown' : short(value), value === undefined ? 'num faint' : 'num'), report);
    return row;
  }

  // In the order of time, each run a point; runs without the figure are left out and counted.
  function trend(rows, figure) {
    const points = rows.filter((run) => run.figures[figure] !== undefined).sort((a, b) => a.started_ms - b.started_ms || (a.id < b.id ? -1 : 1));
    const svg = $('trend'), width = svg.clientWidth, height = svg.clientHeight;
    $('caption').textContent = points.length ? figure + ' of ' + points.length + ' runs in the order of time'
      + (rows.length > points.length ? '; ' + (rows.length - points.length) + ' do not have it' : '') : 'no run shown has this figure';
    svg.replaceChildren();
    svg.setAttribute('viewBox', '0 0 ' + width + ' ' + height);
    if (!points.length) return;
    const most = Math.max(...points.map((run) => run.figures[figure]), 0) || 1;
    const x = (index) => 70 + (points.length > 1 ? index / (points.length - 1) : 0.5) * (width - 100);
    const y = (value) => height - 20 - value / most * (height - 45);
    for (const part of [0, 0.5, 1]) {
      svg.append(drawn('line', { x1: 60, x2: width - 10, y1: y(most * part), y2: y(most * part) }),
        drawn('text', { x: 54, y: y(most * part) + 4, 'text-anchor': 'end' }, short(most * part)));
    }
    svg.append(drawn('polyline', { points: points.map((run, index) => x(index) + ',' + y(run.figures[figure])).join(' ') }));
    points.forEach(function (run, index) {
      const dot = drawn('circle', { cx: x(index), cy: y(run.figures[figure]), r: 4, class: chosen.has(run.id) ? 'chosen' : '' });
      dot.append(drawn('title', {}, run.id + ': ' + short(run.figures[figure])));
      dot.addEventListener('click', function () { location.href = place(run); });
      svg.append(dot);
    });
  }

  $('filter').addEventListener('input', show);
  $('figure').addEventListener('change', show);
  window.addEventListener('resize', show);
  $('compare').addEventListener('click', function () {
    // The older one is what the newer one is compared with.
    const [a, b] = runs.filter((run) => chosen.has(run.id)).sort((a, b) => a.started_ms - b.started_ms || (a.id < b.id ? -1 : 1));
    location.href = 'compare?a=' + encodeURIComponent(a.id) + '&b=' + encodeURIComponent(b.id);
  });

  fetch('api/runs').then((response) => response.json()).then(function (found) {
    runs = found;
    const figures = [...new Set(runs.flatMap((run) => Object.keys(run.figures)))].sort();
    $('figure').replaceChildren(...figures.map((name) => element('option', name)));
    const first = FIRST.find((name) => figures.includes(name)) ?? figures.find((name) => name.endsWith('p50_ms'));
    if (first) $('figure').value = first;
    show();
    document.documentElement.dataset.ready = 'true';
  }).catch(function (error) { $('said').textContent = 'the list cannot be read: ' + error.message; });
})();
