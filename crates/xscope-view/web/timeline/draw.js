// Draws the timeline. Knows nothing of the server: it draws what `data.js` has.
var timeline = (function (timeline) {
  'use strict';

  const LEFT = 240;
  timeline.LEFT = LEFT;

  // Hues that are told apart without red and green, from the name alone: the same in every run.
  const LIGHT = ['#8ecae6', '#f6bd60', '#a8d5ba', '#cdb4db', '#f4a698', '#90be9d', '#b8c0ff', '#e9d8a6', '#9ad1d4', '#e5b3c6', '#bcd979', '#c9ada7'];
  const DARK = ['#2f6f8f', '#8a6420', '#37704f', '#6b4f80', '#8f4a3c', '#3f6b55', '#4a5499', '#786a36', '#2f6d70', '#84506a', '#5b7327', '#6e5651'];

  const scheme = window.matchMedia('(prefers-color-scheme: dark)');
  let theme = {};
  function readTheme() {
    const style = getComputedStyle(document.documentElement);
    theme = { dark: scheme.matches, palette: scheme.matches ? DARK : LIGHT };
    for (const name of ['ground', 'panel', 'line', 'text', 'faint', 'accent', 'bad', 'mark', 'bar']) theme[name] = style.getPropertyValue('--' + name).trim();
    theme.boxText = theme.dark ? '#f2f5f9' : '#16202b';
  }
  scheme.addEventListener('change', function () { readTheme(); timeline.redraw(); });

  // Stages have the colours that they have in the report.
  timeline.stageColours = {};
  const colours = new Map();
  function colourOf(id, name) {
    if (name && Object.hasOwn(timeline.stageColours, name)) return timeline.stageColours[name];
    let index = colours.get(name || id);
    if (index === undefined) {
      let hash = 2166136261;
      // Numbers at the end tell instances of one thing apart, which have one colour.
      const text = name ? name.replace(/[.\d]+$/, '') : String(id);
      for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 16777619);
      index = (hash >>> 0) % LIGHT.length;
      if (name) colours.set(name, index);
    }
    return theme.palette[index];
  }

  timeline.fit = function (canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.width = width + 'px';
      canvas.style.height = height + 'px';
    }
    const context = canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  };

  const FONT = '12px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
  const widths = new Map();
  // As much of a text as fits. Letters are of nearly one width each, so most texts need no measuring.
  function fitted(context, text, width) {
    if (width < 14) return '';
    let letter = widths.get(context.font);
    if (!letter) widths.set(context.font, letter = context.measureText('abcdefghij0123456789_./').width / 23);
    const most = Math.floor(width / letter);
    return text.length <= most ? text : most > 2 ? text.slice(0, most - 1) + '…' : '';
  }

  function steps(view, width) {
    const rough = (view.to - view.from) / Math.max(2, width / 130);
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  }

  timeline.drawRuler = function (canvas, state) {
    const width = canvas.parentElement.clientWidth;
    const context = timeline.fit(canvas, width, 28);
    if (!theme.ground) readTheme();
    context.fillStyle = theme.panel;
    context.fillRect(0, 0, width, 28);
    context.font = FONT;
    context.fillStyle = theme.faint;
    context.textBaseline = 'middle';
    context.fillText(timeline.time(state.to - state.from) + ' shown', 12, 14);
    const step = steps(state, width - LEFT);
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, 28);
    context.clip();
    for (let at = Math.ceil(state.from / step) * step; at <= state.to; at += step) {
      const x = LEFT + (at - state.from) / state.pixel;
      context.fillStyle = theme.line;
      context.fillRect(Math.round(x), 18, 1, 10);
      context.fillStyle = theme.faint;
      context.fillText(label(at, step), x + 4, 12);
    }
    if (state.range) {
      const [x0, x1] = state.range.map((at) => LEFT + (at - state.from) / state.pixel);
      context.fillStyle = theme.accent;
      context.fillRect(x0, 24, Math.max(1, x1 - x0), 4);
    }
    context.restore();
    context.fillStyle = theme.line;
    context.fillRect(0, 27, width, 1);
  };

  // A time with the digits that neighbours differ in.
  function label(at, step) {
    const unit = [[1e12, 's'], [1e9, 'ms'], [1e6, 'µs'], [1e3, 'ns'], [1, 'ps']].find(([size]) => Math.max(Math.abs(at), step) >= size) ?? [1, 'ps'];
    const places = Math.max(0, Math.min(9, -Math.floor(Math.log10(step / unit[0]) + 1e-9)));
    return (at / unit[0]).toFixed(places) + ' ' + unit[1];
  }

  timeline.draw = function (canvas, state) {
    const width = canvas.parentElement.clientWidth, height = canvas.parentElement.clientHeight;
    const context = timeline.fit(canvas, width, height);
    if (!theme.ground) readTheme();
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, width, height);
    context.font = FONT;
    context.textBaseline = 'middle';
    grid(context, state, width, height);
    state.hits = [];
    const places = new Map();
    state.tree.each(state.y, state.y + height, function (item, top) {
      const y = top - state.y;
      places.set(item, y);
      const kind = state.tree.kind[item];
      if (kind <= timeline.GROUP) heading(context, state, item, y, width);
      else if (kind === timeline.COUNTER) counter(context, state, item, y, width);
      else track(context, state, item, y, width);
    });
    arrows(context, state, width, height);
    range(context, state, width, height);
    context.fillStyle = theme.line;
    context.fillRect(LEFT - 1, 0, 1, height);
  };

  function grid(context, state, width, height) {
    const step = steps(state, width - LEFT);
    context.fillStyle = theme.line;
    context.globalAlpha = 0.5;
    for (let at = Math.ceil(state.from / step) * step; at <= state.to; at += step) {
      const x = Math.round(LEFT + (at - state.from) / state.pixel);
      if (x > LEFT) context.fillRect(x, 0, 1, height);
    }
    context.globalAlpha = 1;
  }

  function heading(context, state, item, y, width) {
    const isHost = state.tree.kind[item] === timeline.HOST;
    context.fillStyle = isHost ? theme.bar : theme.panel;
    context.fillRect(0, y, width, timeline.Tree.HEAD);
    context.fillStyle = theme.line;
    context.fillRect(0, y, width, 1);
    context.fillStyle = theme.text;
    context.font = '600 ' + FONT;
    const name = state.tree.name(item);
    const sign = state.tree.folded.has(item) ? '▸' : '▾';
    context.fillText(sign + '  ' + (isHost ? 'host ' : '') + (name ? name[0] : '…'), isHost ? 10 : 16, y + 12);
    context.font = FONT;
  }

  function side(context, state, item, y, height) {
    const name = state.tree.name(item);
    if (!name) return;
    context.fillStyle = theme.text;
    const text = fitted(context, name[0], LEFT - 40);
    // A tall track keeps its name in sight.
    const at = Math.min(Math.max(y, 0), y + height - timeline.Tree.ROW) + 11;
    context.fillText(text, 26, at);
    if (name[1] && name[0].length < 20) {
      context.fillStyle = theme.faint;
      context.fillText(name[1], 26 + context.measureText(text).width + 8, at);
    }
  }

  function track(context, state, item, y, width) {
    const height = state.tree.heightOf(item);
    context.fillStyle = theme.line;
    context.globalAlpha = 0.6;
    context.fillRect(0, y + height - 1, width, 1);
    context.globalAlpha = 1;
    side(context, state, item, y, height);
    const found = state.windows.current, range = found && found.boxes.get(item);
    if (!range) return;
    context.save();
    context.beginPath();
    context.rect(LEFT, y, width - LEFT, height);
    context.clip();
    boxes(context, state, found, range, y, width);
    context.restore();
  }

  function boxes(context, state, found, [first, last], y, width) {
    const ROW = timeline.Tree.ROW, needle = state.needle, viewHeight = context.canvas.height;
    const texts = [];
    for (let index = first; index < last; index++) {
      const top = y + 3 + found.row[index] * ROW;
      if (top > viewHeight || top < -ROW) continue;
      const dur = found.dur[index];
      let x = LEFT + (found.start[index] - state.from) / state.pixel;
      let end = dur < 0 ? x + 24 : x + dur / state.pixel;
      if (end < LEFT || x > width) continue;
      x = Math.max(x, LEFT - 2);
      end = Math.min(end, width + 2);
      const w = Math.max(1, end - x), many = found.count[index] > 1;
      const name = timeline.nameOf(found.name[index]);
      const isMatch = needle && !many && name.toLowerCase().includes(needle);
      context.fillStyle = isMatch ? theme.mark : colourOf(found.name[index], name);
      if (many) context.globalAlpha = 0.3 + 0.6 * Math.min(1, dur > 0 ? found.busy[index] / dur : 1);
      else if (needle && !isMatch) context.globalAlpha = 0.45;
      context.fillRect(x, top, w > 3 ? w - 0.5 : w, ROW - 2);
      context.globalAlpha = 1;
      if (dur < 0) { context.fillStyle = theme.bad; context.fillRect(x, top, 2, ROW - 2); }
      state.hits.push([x, top, Math.max(w, 3), ROW - 2, index]);
      const selected = state.selected;
      if (selected && selected.item === found.item[index] && selected.slice === found.slice[index] && !many) {
        context.strokeStyle = theme.text;
        context.lineWidth = 2;
        context.strokeRect(x, top + 1, Math.max(2, w - 1), ROW - 4);
      }
      if (w > 22) texts.push([x, top, w, many ? timeline.number(found.count[index]) + ' slices' : name]);
    }
    context.fillStyle = theme.boxText;
    for (const [x, top, w, text] of texts) {
      const shown = fitted(context, text, w - 8);
      if (shown) context.fillText(shown, x + 4, top + (ROW - 2) / 2 + 0.5);
    }
  }

  function counter(context, state, item, y, width) {
    const height = timeline.Tree.COUNTER_HEIGHT;
    side(context, state, item, y, height);
    const found = state.windows.current, range = found && found.samples.get(item);
    if (!range) return;
    const [first, last] = range;
    let most = 0;
    for (let index = first; index < last; index++) most = Math.max(most, found.sampleValue[index]);
    context.save();
    context.beginPath();
    context.rect(LEFT, y, width - LEFT, height);
    context.clip();
    context.fillStyle = theme.accent;
    context.globalAlpha = 0.45;
    for (let index = first; index < last; index++) {
      const x = LEFT + (found.sampleAt[index] - state.from) / state.pixel;
      const end = index + 1 < last ? LEFT + (found.sampleAt[index + 1] - state.from) / state.pixel : width;
      const h = most > 0 ? Math.max(0, found.sampleValue[index]) / most * (height - 6) : 0;
      context.fillRect(x, y + height - 2 - h, Math.max(1, end - x), h);
    }
    context.globalAlpha = 1;
    context.fillStyle = theme.faint;
    context.fillText('to ' + most.toLocaleString('en-US', { maximumSignificantDigits: 4 }), LEFT + 6, y + 10);
    context.restore();
  }

  // Where a slice is on the screen.
  timeline.placeOf = function (state, slice) {
    const top = state.tree.top[slice.item] - state.y + 3 + (slice.row ?? 0) * timeline.Tree.ROW;
    const x = LEFT + (slice.start - state.from) / state.pixel;
    return { x, y: top + timeline.Tree.ROW / 2 - 1, end: x + Math.max(0, slice.dur) / state.pixel };
  };

  function arrows(context, state, width, height) {
    if (!state.detail || !state.detail.arrows.length) return;
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, height);
    context.clip();
    context.strokeStyle = context.fillStyle = theme.accent;
    context.lineWidth = 1.5;
    for (const arrow of state.detail.arrows) {
      const from = timeline.placeOf(state, arrow.from), to = timeline.placeOf(state, arrow.to);
      // Out of a long slice the arrow leaves where the other one begins.
      const x0 = Math.max(from.x, Math.min(from.end, to.x)), x1 = to.x;
      if (Math.max(x0, x1) < LEFT || Math.min(x0, x1) > width || Math.max(from.y, to.y) < 0 || Math.min(from.y, to.y) > height) continue;
      const bend = Math.max(16, Math.abs(x1 - x0) / 2);
      context.beginPath();
      context.moveTo(x0, from.y);
      context.bezierCurveTo(x0 + bend, from.y, x1 - bend, to.y, x1 - 5, to.y);
      context.stroke();
      context.beginPath();
      context.moveTo(x1, to.y);
      context.lineTo(x1 - 7, to.y - 4);
      context.lineTo(x1 - 7, to.y + 4);
      context.fill();
    }
    context.restore();
  }

  function range(context, state, width, height) {
    if (!state.range) return;
    const [x0, x1] = state.range.map((at) => Math.min(width, Math.max(LEFT, LEFT + (at - state.from) / state.pixel)));
    context.fillStyle = theme.accent;
    context.globalAlpha = 0.12;
    context.fillRect(x0, 0, x1 - x0, height);
    context.globalAlpha = 0.8;
    context.fillRect(x0, 0, 1, height);
    context.fillRect(x1, 0, 1, height);
    context.globalAlpha = 1;
  }

  return timeline;
})(window.timeline || {});
