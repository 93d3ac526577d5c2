// A server while it works: asks once a second, and shows the difference to ten seconds ago.
(function () {
  'use strict';

  const $ = function (id) { return document.getElementById(id); };
  const SVG = 'http://www.w3.org/2000/svg';
  const KEPT = 300, RECENT = 10;
  const looks = [];

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function short(value) { return value.toLocaleString('en-US', { maximumSignificantDigits: 4 }); }

  // What was counted between two looks; null if the server was started anew in between.
  function between(now, before) {
    if (!now || !before || now.count < before.count) return now && !before ? now : null;
    const old = new Map(before.buckets.map(([bound, count]) => [bound, count]));
    return { sum: now.sum - before.sum, count: now.count - before.count, buckets: now.buckets.map(([bound, count]) => [bound, count - (old.get(bound) ?? 0)]) };
  }

  // As Prometheus does it: evenly within a bucket; above the last bound it is not known.
  function percentile(histogram, part) {
    if (!histogram || !(histogram.count > 0)) return null;
    const rank = part * histogram.count;
    let low = 0, below = 0;
    for (const [bound, count] of histogram.buckets) {
      if (count >= rank) return bound === null ? null : low + (bound - low) * (rank - below) / Math.max(1e-12, count - below);
      [low, below] = [bound ?? low, count];
    }
    return null;
  }

  function tile(name, value, unit, why) {
    const box = element('div'), shown = element('dd', value === null || value === undefined ? '–' : short(value));
    shown.append(element('span', ' ' + unit, 'unit'));
    if (value === null || value === undefined) shown.append(element('span', why, 'reason'));
    box.append(element('dt', name), shown);
    return box;
  }

  function bars(id, rows, unit) {
    const most = Math.max(...rows.map((row) => row[1]), 0) || 1;
    $(id).replaceChildren(...rows.flatMap(function ([name, value]) {
      const bar = element('span', undefined, 'bar'), fill = element('i');
      fill.style.width = (100 * value / most).toFixed(1) + '%';
      bar.append(fill);
      return [element('bdi', name), bar, element('span', short(value) + ' ' + unit, 'value')];
    }));
  }

  // Points of [x, y]; x from the oldest to the newest.
  function plot(id, points, unit) {
    const svg = $(id), width = svg.clientWidth, height = svg.clientHeight;
    svg.replaceChildren();
    svg.setAttribute('viewBox', '0 0 ' + width + ' ' + height);
    if (!points.length) return;
    const draw = function (tag, attributes, text) {
      const made = document.createElementNS(SVG, tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      svg.append(made);
    };
    const first = points[0][0], span = points[points.length - 1][0] - first || 1, most = Math.max(...points.map((point) => point[1])) || 1;
    const x = (at) => 70 + (at - first) / span * (width - 90), y = (value) => height - 14 - value / most * (height - 34);
    for (const part of [0, 0.5, 1]) {
      draw('line', { x1: 62, x2: width - 10, y1: y(most * part), y2: y(most * part) });
      draw('text', { x: 56, y: y(most * part) + 4, 'text-anchor': 'end' }, short(most * part) + ' ' + unit);
    }
    draw('polyline', { points: points.map((point) => x(point[0]) + ',' + y(point[1])).join(' ') });
  }

  function show(look) {
    looks.push(look);
    if (looks.length > KEPT) looks.shift();
    const server = look.server, run = look.run;
    const old = looks[Math.max(0, looks.length - 1 - RECENT)];
    const secs = (look.at_ns - old.at_ns) / 1e9;
    const recent = server && old !== look && old.server ? between(server.latency, old.server.latency) : null;
    $('url').textContent = look.url;
    $('state').textContent = server ? 'figures of the server are of the last ' + secs.toFixed(0) + ' s' : 'the server does not answer; what follows is what is known';
    const wait = 'nothing was answered in the last seconds';
    const tiles = [];
    const millis = (part) => { const value = percentile(recent, part); return value === null ? null : 1e3 * value; };
    for (const [name, part] of [['p50', 0.5], ['p95', 0.95], ['p99', 0.99]]) tiles.push(tile(name + ', server', millis(part), 'ms', server ? wait : 'no /metrics'));
    tiles.push(tile('answers, server', recent && secs > 0 ? recent.count / secs : null, '/s', server ? wait : 'no /metrics'));
    tiles.push(tile('queue', server ? server.queue : null, 'waiting', 'not told'));
    if (server && server.running !== null) tiles.push(tile('running', server.running, 'requests', ''));
    const rows = server && old !== look && old.server ? between(server.batch_rows, old.server.batch_rows) : null;
    tiles.push(tile('batch', rows && rows.count > 0 ? rows.sum / rows.count : null, 'rows', server && server.batch_rows ? 'no batch in the last seconds' : 'not told'));
    tiles.push(tile('compiles', server ? server.compiles : null, 'since start', 'not told'));
    if (run) {
      for (const name of ['p50_ms', 'p95_ms', 'p99_ms']) tiles.push(tile(name.slice(0, 3) + ', client', run[name], 'ms', run.newest ? 'too few requests' : 'no request has ended'));
      tiles.push(tile('answers, client', run.per_sec, '/s', 'too few'));
      tiles.push(tile('requests', run.requests, run.failed ? ', ' + run.failed + ' failed' : 'done', ''));
    }
    $('tiles').replaceChildren(...tiles);
    latency(run);
    stages(server, old, run);
    $('queue-note').textContent = server && server.queue !== null ? 'what waits, at each look' : 'the server does not tell its queue';
    plot('queue', looks.filter((it) => it.server && it.server.queue !== null).map((it) => [it.at_ns / 1e9, it.server.queue]), '');
    bars('spans', run ? Object.entries(run.spans) : [], 'spans');
    $('missing').replaceChildren(...look.missing.map((text) => element('li', text)));
    document.documentElement.dataset.ready = 'true';
  }

  function latency(run) {
    if (run && run.latencies.length) {
      $('latency-note').textContent = 'of the newest ' + run.newest + ' requests of ' + run.run + ' (' + run.status + '), as the client saw them';
      plot('latency', run.latencies.slice().sort((a, b) => a[0] - b[0]), 'ms');
      return;
    }
    const points = [];
    for (let index = 1; index < looks.length; index++) {
      const [now, before] = [looks[index].server, looks[Math.max(0, index - RECENT)].server];
      const value = now && before ? percentile(between(now.latency, before.latency), 0.5) : null;
      if (value !== null) points.push([looks[index].at_ns / 1e9, 1e3 * value]);
    }
    $('latency-note').textContent = points.length ? 'median of the last ' + RECENT + ' s, from the server’s histogram' : 'nothing was answered yet';
    plot('latency', points, 'ms');
  }

  // Stages in the order in which a request takes them; others stand behind.
  const PIPELINE = ['http.parse', 'tokenize', 'batch.build', 'ipc.send', 'queue.wait', 'schedule', 'forward', 'decode',
    'logprob.extract', 'detokenize', 'softmax', 'http.respond'];

  function stages(server, old, run) {
    let rows = [];
    if (server && old.server) {
      rows = Object.entries(server.stages).map(function ([name, histogram]) {
        const recent = between(histogram, old.server.stages[name]);
        return [name, recent && recent.count > 0 ? 1e3 * recent.sum / recent.count : NaN];
      }).filter((row) => Number.isFinite(row[1]));
    }
    $('stages-note').textContent = rows.length ? 'mean time in each stage, from /metrics, of the last seconds' : 'no stage in the last seconds';
    if (!rows.length && run && Object.keys(run.stages_ms).length) {
      rows = Object.entries(run.stages_ms);
      $('stages-note').textContent = 'mean time in each stage of the newest requests, as answers state it';
    }
    const place = (name) => (PIPELINE.indexOf(name) + PIPELINE.length + 1) % (PIPELINE.length + 1);
    bars('stages', rows.sort((a, b) => place(a[0]) - place(b[0])), 'ms');
  }

  async function ask() {
    try {
      const response = await fetch('api/live');
      if (!response.ok) throw new Error(await response.text());
      show(await response.json());
    } catch (error) {
      $('state').textContent = 'the viewer does not answer: ' + error.message;
    }
    setTimeout(ask, 1000);
  }
  ask();
})();
