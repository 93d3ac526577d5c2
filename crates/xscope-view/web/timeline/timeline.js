// The timeline page: what keys and pointer do, the panel below, the address.
(function () {
  'use strict';

  const $ = function (id) { return document.getElementById(id); };
  const LEFT = timeline.LEFT;
  const LEAST_SPAN = 100; // ps

  const state = {
    from: 0, to: 1, length: 1, pixel: 1, y: 0,
    tree: null, windows: null, hits: [],
    selected: null, detail: null, range: null, stats: null, needle: '', found: null,
  };
  window.xscopeTimeline = state;

  const canvas = $('canvas'), view = $('view'), ruler = $('ruler'), scroller = $('scroll');
  let pointer = { x: LEFT + 1, y: 0 };
  let frame = 0;
  const keys = new Set();

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  timeline.complain = function (error) { notice(String(error.message || error), 'error'); };
  function notice(text, kind) {
    const box = $('notice');
    box.hidden = !text;
    box.className = kind || '';
    box.textContent = text;
  }

  // ---- drawing

  timeline.redraw = function () { if (!frame) frame = requestAnimationFrame(draw); };

  function width() { return Math.max(50, view.clientWidth - LEFT - 14); }

  function draw(now) {
    frame = 0;
    if (!state.tree) return;
    move(now);
    state.pixel = (state.to - state.from) / width();
    state.y = scroller.scrollTop;
    state.windows.want(state, visibleItems());
    timeline.draw(canvas, state);
    timeline.drawRuler(ruler, state);
    remember();
    if (keys.size) timeline.redraw();
  }

  // The items on the screen and as many around it, as ranges.
  function visibleItems() {
    const height = view.clientHeight, ranges = [];
    const page = Math.floor(state.y / height);
    state.tree.each((page - 1) * height, (page + 3) * height, function (item) {
      if (state.tree.kind[item] < timeline.TRACK) return;
      const last = ranges[ranges.length - 1];
      if (last && last[1] === item) last[1] = item + 1; else ranges.push([item, item + 1]);
    });
    return ranges.slice(0, 300).map((range) => range.join('-')).join(',');
  }

  let before = 0;
  function move(now) {
    const passed = keys.size && before ? Math.min(50, now - before) : 16;
    before = keys.size ? now : 0;
    const step = passed / 1000;
    if (keys.has('w')) zoom(Math.pow(0.15, step), pointer.x);
    if (keys.has('s')) zoom(Math.pow(1 / 0.15, step), pointer.x);
    const span = state.to - state.from;
    if (keys.has('a')) shift(-span * step * 1.1);
    if (keys.has('d')) shift(span * step * 1.1);
  }

  function show(from, to) {
    const span = Math.min(Math.max(to - from, LEAST_SPAN), state.length * 1.1);
    const middle = (from + to) / 2;
    const low = -state.length * 0.05, high = state.length * 1.05;
    state.from = Math.min(Math.max(middle - span / 2, low), high - span);
    state.to = state.from + span;
    timeline.redraw();
  }
  function shift(by) { show(state.from + by, state.to + by); }
  function zoom(factor, x) {
    const at = timeAt(x);
    const span = Math.min(Math.max((state.to - state.from) * factor, LEAST_SPAN), state.length * 1.1);
    const part = (at - state.from) / (state.to - state.from);
    show(at - span * part, at + span * (1 - part));
  }
  function timeAt(x) { return state.from + (Math.max(x, LEFT) - LEFT) * (state.to - state.from) / width(); }
  function showAll() { show(-state.length * 0.01, state.length * 1.01); }

  // ---- the address

  let remembered = 0;
  function remember() {
    clearTimeout(remembered);
    remembered = setTimeout(function () {
      const at = new URLSearchParams();
      at.set('t', Math.round(state.from) + '-' + Math.round(state.to));
      if (scroller.scrollTop) at.set('y', String(Math.round(scroller.scrollTop)));
      if (state.selected) at.set('s', state.selected.item + '.' + state.selected.slice);
      if (state.range) at.set('r', state.range.map(Math.round).join('~'));
      history.replaceState(null, '', '#' + at);
    }, 200);
  }
  function recall() {
    const at = new URLSearchParams(location.hash.slice(1));
    const time = /^(-?\d+)-(-?\d+)$/.exec(at.get('t') || '');
    if (time) show(Number(time[1]), Number(time[2])); else showAll();
    const slice = /^(\d+)\.(\d+)$/.exec(at.get('s') || '');
    if (slice) select({ item: Number(slice[1]), slice: Number(slice[2]) });
    const range = (at.get('r') || '').split('~').map(Number);
    if (range.length === 2 && range.every(Number.isFinite)) setRange(range);
    scroller.scrollTop = Number(at.get('y') || 0);
  }

  // ---- selection

  async function select(slice, reveal) {
    state.selected = slice;
    state.detail = null;
    timeline.redraw();
    if (!slice) { if (!state.range) panel(); return; }
    try {
      const detail = await timeline.json('slice?item=' + slice.item + '&slice=' + slice.slice);
      if (state.selected !== slice) return;
      state.detail = detail;
      state.selected = detail;
      panelOfSlice(detail);
      // What the panel covers is not seen.
      if (reveal) revealSlice(detail);
    } catch (error) { timeline.complain(error); }
    timeline.redraw();
  }

  // Brings a slice onto the screen, and zooms so far that it can be seen.
  function revealSlice(slice) {
    state.tree.unfold(slice.item);
    resize();
    const dur = Math.max(slice.dur, 0), span = state.to - state.from;
    const isSeen = slice.start >= state.from && slice.start + dur <= state.to && dur > span / 400;
    if (!isSeen) {
      const wide = dur > 0 ? Math.min(span, Math.max(dur * 8, LEAST_SPAN)) : Math.min(span, state.length / 1000);
      const shown = Math.max(wide, dur * 1.2);
      show(slice.start + dur / 2 - shown / 2, slice.start + dur / 2 + shown / 2);
    }
    const y = state.tree.top[slice.item] + (slice.row ?? 0) * timeline.Tree.ROW;
    if (y < scroller.scrollTop + 30 || y > scroller.scrollTop + view.clientHeight - 60) scroller.scrollTop = y - view.clientHeight / 2;
  }

  async function setRange(range) {
    state.range = range;
    timeline.redraw();
    if (!range) { panel(); return; }
    try {
      const stats = await timeline.json('stats?from=' + range[0] + '&to=' + range[1]);
      if (state.range === range) { state.stats = stats; panelOfRange(range, stats); }
    } catch (error) { timeline.complain(error); }
  }

  // ---- the panel

  function panel(...content) {
    $('content').replaceChildren(...content);
    document.body.classList.toggle('with-panel', content.length > 0);
    resize();
  }

  function closeButton() {
    const button = element('button', '×', 'close');
    button.type = 'button';
    button.setAttribute('aria-label', 'Close');
    button.addEventListener('click', clear);
    return button;
  }

  function facts(pairs) {
    const list = element('dl', undefined, 'facts');
    for (const [key, value] of pairs) {
      list.append(element('dt', key), element('dd', value));
    }
    return list;
  }

  function panelOfSlice(detail) {
    const title = element('h2');
    title.append(element('bdi', detail.name || 'no name'));
    const main = facts([
      ['track', detail.track],
      ['start', timeline.time(detail.start, 6)],
      ['duration', detail.dur < 0 ? 'never ended' : timeline.time(detail.dur, 3)],
      ...detail.facts,
    ]);
    const parts = [closeButton(), title];
    if (detail.row === null) parts.push(element('p', 'Nested too deep to be drawn.', 'note'));
    const columns = element('div', undefined, 'columns');
    columns.append(main);
    if (detail.args.length) {
      const args = element('section');
      args.append(element('h3', 'Arguments'), facts(detail.args));
      if (detail.more_args) args.append(element('p', 'and ' + detail.more_args + ' more', 'note'));
      columns.append(args);
    }
    if (detail.arrows.length) columns.append(way(detail));
    parts.push(columns);
    panel(...parts);
  }

  // Where arrows lead from here, and where those come from that lead here.
  function way(detail) {
    const section = element('section');
    const same = (slice) => slice.item === detail.item && slice.slice === detail.slice;
    section.append(element('h3', 'Leads to and comes from'));
    const list = element('ul', undefined, 'way');
    for (const arrow of detail.arrows.slice(0, 40)) {
      const isOut = same(arrow.from) || (!same(arrow.to) && arrow.to.start >= detail.start);
      const other = isOut ? arrow.to : arrow.from;
      const line = element('li'), button = element('button', (isOut ? '→ ' : '← ') + (other.name || 'no name'), 'link');
      button.type = 'button';
      button.addEventListener('click', function () { select(other, true); });
      line.append(button, element('span', ' ' + timeline.time(other.start - detail.start) + ' later', 'note'));
      if (other.start < detail.start) line.lastChild.textContent = ' ' + timeline.time(detail.start - other.start) + ' earlier';
      list.append(line);
    }
    section.append(list);
    if (detail.arrows.length > 40) section.append(element('p', 'and ' + (detail.arrows.length - 40) + ' more', 'note'));
    return section;
  }

  function panelOfRange(range, stats) {
    const title = element('h2', 'Range of ' + timeline.time(range[1] - range[0], 3) + ' from ' + timeline.time(range[0], 3));
    const note = element('p', timeline.number(stats.slices) + ' slices on all tracks, ' + timeline.number(stats.names.length + stats.more_names)
      + ' names; what reaches over an edge is cut there.', 'note');
    const table = element('table'), head = element('tr'), body = element('tbody');
    for (const [text, kind] of [['name', ''], ['count', 'num'], ['total', 'num'], ['self', 'num'], ['share of self', 'num']]) head.append(element('th', text, kind));
    for (const row of stats.names) {
      const line = element('tr'), name = element('td');
      name.append(element('bdi', row.name || 'no name'));
      line.append(name, element('td', timeline.number(row.count), 'num'), element('td', timeline.time(row.total_us * 1e6), 'num'),
        element('td', timeline.time(row.self_us * 1e6), 'num'),
        element('td', stats.self_us > 0 ? (100 * row.self_us / stats.self_us).toFixed(1) + ' %' : '', 'num'));
      body.append(line);
    }
    const top = element('thead');
    top.append(head);
    table.append(top, body);
    panel(closeButton(), title, note, table);
    if (stats.more_names) $('content').append(element('p', 'and ' + timeline.number(stats.more_names) + ' more names', 'note'));
  }

  function clear() {
    state.selected = state.detail = state.range = state.stats = null;
    panel();
    timeline.redraw();
    view.focus();
  }

  // ---- search

  async function search(back) {
    const text = $('text').value;
    state.needle = text.toLowerCase();
    timeline.redraw();
    if (!text) { $('match-count').textContent = ''; state.found = null; return; }
    const at = state.found && state.found.text === text ? state.found : state.selected;
    const from = at ? '&item=' + at.item + '&slice=' + at.slice : '';
    try {
      const answer = await timeline.json('search?text=' + encodeURIComponent(text) + from + (back ? '&back=true' : ''));
      $('match-count').textContent = answer.total ? timeline.number(answer.rank) + ' of ' + timeline.number(answer.total) : 'no match';
      if (!answer.hit) return;
      state.found = { ...answer.hit, text };
      state.range = null;
      await select(answer.hit, true);
    } catch (error) { timeline.complain(error); }
  }
  $('search').addEventListener('submit', function (event) { event.preventDefault(); search(false); });
  $('next').addEventListener('click', function (event) { event.preventDefault(); search(false); });
  $('previous').addEventListener('click', function () { search(true); });
  $('text').addEventListener('keydown', function (event) {
    if (event.key === 'Enter') { event.preventDefault(); search(event.shiftKey); }
    if (event.key === 'Escape') { view.focus(); event.stopPropagation(); }
  });
  $('text').addEventListener('input', function () {
    state.needle = $('text').value.toLowerCase();
    $('match-count').textContent = '';
    timeline.redraw();
  });

  // ---- keys

  document.addEventListener('keydown', function (event) {
    if (!state.tree || event.target === $('text') || $('help').open || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ('wasd'.includes(key) && key.length === 1) { keys.add(key); timeline.redraw(); return; }
    const act = {
      '/': function () { $('text').focus(); $('text').select(); },
      '?': function () { $('help').showModal(); },
      f: showSelection,
      m: mark,
      0: showAll,
      Escape: clear,
      '[': function () { step(false); },
      ']': function () { step(true); },
      ArrowLeft: function () { shift(-(state.to - state.from) / 8); },
      ArrowRight: function () { shift((state.to - state.from) / 8); },
      ArrowUp: function () { scroller.scrollTop -= 60; },
      ArrowDown: function () { scroller.scrollTop += 60; },
      PageUp: function () { scroller.scrollTop -= view.clientHeight * 0.9; },
      PageDown: function () { scroller.scrollTop += view.clientHeight * 0.9; },
    }[key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  document.addEventListener('keyup', function (event) { keys.delete(event.key.toLowerCase()); });
  window.addEventListener('blur', function () { keys.clear(); });

  function showSelection() {
    if (state.detail) {
      revealSlice(state.detail);
      const dur = Math.max(state.detail.dur, LEAST_SPAN);
      show(state.detail.start - dur * 0.15, state.detail.start + dur * 1.15);
    } else if (state.range) {
      const span = state.range[1] - state.range[0];
      show(state.range[0] - span * 0.05, state.range[1] + span * 0.05);
    }
  }
  function mark() {
    if (state.detail) setRange([state.detail.start, state.detail.start + Math.max(state.detail.dur, 1)]);
  }
  function step(forward) {
    if (!state.detail) return;
    const here = state.detail, same = (slice) => slice.item === here.item && slice.slice === here.slice;
    const arrow = here.arrows.find((arrow) => same(forward ? arrow.from : arrow.to));
    if (arrow) select(forward ? arrow.to : arrow.from, true);
  }

  // ---- pointer

  function place(event) {
    const box = view.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
  // The box under the pointer, the innermost first.
  function hit(at) {
    for (let index = state.hits.length - 1; index >= 0; index--) {
      const [x, y, w, h, box] = state.hits[index];
      if (at.x >= x - 1 && at.x <= x + w + 1 && at.y >= y && at.y <= y + h) return box;
    }
    return -1;
  }

  let drag = null;
  scroller.addEventListener('pointerdown', function (event) {
    const at = place(event);
    if (event.button !== 0 || event.clientX >= scroller.getBoundingClientRect().left + scroller.clientWidth) return;
    view.focus({ preventScroll: true });
    drag = { at, from: state.from, to: state.to, top: scroller.scrollTop, moving: event.shiftKey, moved: false };
    scroller.setPointerCapture(event.pointerId);
  });
  scroller.addEventListener('pointermove', function (event) {
    const at = pointer = place(event);
    if (!drag) { tip(event, at); return; }
    if (Math.abs(at.x - drag.at.x) + Math.abs(at.y - drag.at.y) > 4) drag.moved = true;
    if (!drag.moved) return;
    $('tip').hidden = true;
    if (drag.moving) {
      const by = (drag.at.x - at.x) * (drag.to - drag.from) / width();
      show(drag.from + by, drag.to + by);
      scroller.scrollTop = drag.top + drag.at.y - at.y;
    } else if (drag.at.x > LEFT) {
      state.range = [timeAt(drag.at.x), timeAt(at.x)].sort((a, b) => a - b);
      timeline.redraw();
    }
  });
  scroller.addEventListener('pointerup', function (event) {
    const done = drag;
    drag = null;
    if (!done || !state.tree) return;
    if (done.moved) { if (!done.moving && state.range) { state.selected = state.detail = null; setRange(state.range); } return; }
    click(place(event));
  });
  scroller.addEventListener('pointerleave', function () { $('tip').hidden = true; });

  function click(at) {
    const item = state.tree.at(at.y + scroller.scrollTop);
    if (item < state.tree.count && state.tree.kind[item] <= timeline.GROUP) {
      if (!state.tree.folded.delete(item)) state.tree.folded.add(item);
      state.tree.place();
      resize();
      return;
    }
    const box = at.x > LEFT ? hit(at) : -1;
    if (box < 0) { clear(); return; }
    const found = state.windows.current;
    state.range = null;
    // Slices that are too short to be told apart: closer.
    if (found.count[box] > 1) {
      const dur = Math.max(found.dur[box], LEAST_SPAN);
      show(found.start[box] - dur * 0.1, found.start[box] + dur * 1.1);
      return;
    }
    select({ item: found.item[box], slice: found.slice[box] });
  }

  function tip(event, at) {
    const box = at.x > LEFT ? hit(at) : -1, label = $('tip');
    label.hidden = box < 0;
    if (box < 0) return;
    const found = state.windows.current, count = found.count[box], dur = found.dur[box];
    const name = element('strong', count > 1 ? timeline.number(count) + ' slices, the first: ' : '');
    name.append(element('bdi', timeline.nameOf(found.name[box]) || 'no name'));
    const busy = count > 1 && dur > 0 ? ', ' + (100 * found.busy[box] / dur).toFixed(0) + ' % of it in slices' : '';
    label.replaceChildren(name, element('span', (dur < 0 ? 'never ended' : timeline.time(dur)) + busy + ' at ' + timeline.time(found.start[box], 3)));
    label.style.left = Math.min(event.clientX + 14, window.innerWidth - label.offsetWidth - 10) + 'px';
    label.style.top = Math.min(event.clientY + 16, window.innerHeight - label.offsetHeight - 10) + 'px';
  }

  scroller.addEventListener('wheel', function (event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.pow(1.0025, event.deltaY), place(event).x);
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      shift((event.deltaX || event.deltaY) * (state.to - state.from) / width());
    }
  }, { passive: false });
  scroller.addEventListener('scroll', timeline.redraw);

  ruler.addEventListener('wheel', function (event) { event.preventDefault(); zoom(Math.pow(1.0025, event.deltaY), place(event).x); }, { passive: false });

  $('handle').addEventListener('pointerdown', function (event) {
    $('handle').setPointerCapture(event.pointerId);
    $('handle').onpointermove = function (move) {
      const height = Math.min(window.innerHeight * 0.75, Math.max(90, window.innerHeight - move.clientY));
      document.documentElement.style.setProperty('--panel-height', height + 'px');
      resize();
    };
    $('handle').onpointerup = function () { $('handle').onpointermove = null; };
  });
  $('help-button').addEventListener('click', function () { $('help').showModal(); });

  // A browser holds no element that is higher than some million pixels; a list that is, is
  // scrolled by keys and search in what it holds.
  const MOST_HEIGHT = 8e6;
  function resize() {
    if (!state.tree) return;
    $('height').style.height = Math.min(MOST_HEIGHT, state.tree.height + 40) + 'px';
    timeline.redraw();
  }
  new ResizeObserver(resize).observe(view);

  // ---- start

  async function start() {
    notice('reading the profile …');
    let status;
    while ((status = await timeline.json('status')).state === 'reading') await new Promise((then) => setTimeout(then, 40));
    $('name').textContent = status.name;
    $('to-runs').hidden = !status.runs;
    $('to-live').hidden = !status.live;
    document.title = status.name.split('/').pop() + ' - xscope';
    if (status.state === 'failed') {
      notice('This cannot be shown: ' + status.why, 'error');
      document.documentElement.dataset.ready = 'failed';
      return;
    }
    state.length = Math.max(1, status.length);
    state.status = status;
    timeline.stageColours = status.stage_colours;
    state.tree = new timeline.Tree(await (await timeline.ask('tree')).arrayBuffer(), status.items);
    state.windows = new timeline.Windows(state.tree);
    notice('');
    tell(status);
    resize();
    recall();
    view.focus();
    document.documentElement.dataset.ready = 'true';
  }

  // What is missing or damaged is said before anything is looked at.
  function tell(status) {
    const said = status.findings.filter((finding) => finding.severity !== 'info').map((finding) => finding.message
      + (finding.count > 1 ? ' (' + timeline.number(finding.count) + ' times)' : ''));
    if (status.too_deep) said.push(timeline.number(status.too_deep) + ' slices are nested too deep to be drawn; search finds them');
    if (!status.items) said.push('there is nothing on a time axis in this profile; the report has the rest');
    if (!said.length) return;
    const box = $('notice'), more = element('details'), list = element('ul');
    notice(' ', 'warning');
    more.append(element('summary', said.length === 1 ? said[0] : said.length + ' things to know: ' + said[0]));
    if (said.length > 1) { for (const line of said) list.append(element('li', line)); more.append(list); }
    box.replaceChildren(more);
  }

  start().catch(timeline.complain);
})();
