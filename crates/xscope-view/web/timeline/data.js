// What the timeline knows: the list of items, their names, and the boxes of the last windows.
// Times are in picoseconds from the start of the trace.
var timeline = (function (timeline) {
  'use strict';

  const HOST = 0, GROUP = 1, TRACK = 2, COUNTER = 3;
  Object.assign(timeline, { HOST, GROUP, TRACK, COUNTER });

  timeline.ask = async function (path, options) {
    const response = await fetch('api/' + path, options);
    if (!response.ok) throw new Error(await response.text());
    return response;
  };
  timeline.json = async function (path, options) { return (await timeline.ask(path, options)).json(); };

  // The items and where each lies: with a million tracks, sums are kept and nothing is made for
  // what is not on the screen.
  timeline.Tree = class {
    constructor(buffer, count) {
      this.count = count;
      this.kind = new Uint8Array(buffer, 0, count);
      this.rows = new Uint16Array(buffer, count + count % 2, count);
      this.folded = new Set();
      this.top = new Float64Array(count + 1);
      this.names = new Map();
      this.asked = new Set();
      this.place();
    }

    static HEAD = 24;
    static ROW = 18;
    static COUNTER_HEIGHT = 40;
    static PAD = 6;

    heightOf(item) {
      const kind = this.kind[item];
      if (kind === HOST || kind === GROUP) return timeline.Tree.HEAD;
      if (kind === COUNTER) return timeline.Tree.COUNTER_HEIGHT;
      return Math.max(1, this.rows[item]) * timeline.Tree.ROW + timeline.Tree.PAD;
    }

    // Sums the heights up; what lies in a folded heading has none.
    place() {
      let y = 0, hostFolded = false, groupFolded = false;
      for (let item = 0; item < this.count; item++) {
        this.top[item] = y;
        const kind = this.kind[item];
        if (kind === HOST) { hostFolded = this.folded.has(item); groupFolded = false; y += timeline.Tree.HEAD; continue; }
        if (kind === GROUP) { groupFolded = this.folded.has(item); if (!hostFolded) y += timeline.Tree.HEAD; continue; }
        if (!hostFolded && !groupFolded) y += this.heightOf(item);
      }
      this.top[this.count] = y;
    }

    get height() { return this.top[this.count]; }
    isShown(item) { return this.top[item + 1] > this.top[item]; }

    // The item at a height.
    at(y) {
      let low = 0, high = this.count;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.top[middle + 1] <= y) low = middle + 1; else high = middle;
      }
      return low;
    }

    // Calls back for the items that touch a stretch.
    each(from, to, then) {
      for (let item = this.at(Math.max(0, from)); item < this.count && this.top[item] < to; item++) {
        if (this.isShown(item)) then(item, this.top[item]);
        else item = this.nextShown(item) - 1;
      }
    }

    // A folded heading may hide a million items: they all lie at the same height.
    nextShown(item) {
      const y = this.top[item];
      let low = item, high = this.count;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.top[middle + 1] > y) high = middle; else low = middle + 1;
      }
      return low;
    }

    unfold(item) {
      let changed = false;
      for (let above = item; above >= 0; above--) {
        if (this.kind[above] > GROUP) continue;
        changed = this.folded.delete(above) || changed;
        if (this.kind[above] === HOST) break;
      }
      if (changed) this.place();
    }

    // [name, note], or null until it is known; names come in blocks.
    name(item) {
      const block = item >> 8;
      const names = this.names.get(block);
      if (names) return names[item & 255];
      if (!this.asked.has(block)) {
        this.asked.add(block);
        timeline.json('items?from=' + block * 256 + '&count=256').then((found) => {
          this.names.set(block, found);
          timeline.redraw();
        }, timeline.complain);
      }
      return null;
    }
  };

  // Names of slices by number.
  const names = new Map();
  timeline.nameOf = function (id) { return names.get(id) ?? ''; };

  async function learn(ids) {
    const unknown = [...new Set(ids)].filter((id) => !names.has(id));
    if (!unknown.length) return;
    const found = await timeline.json('names', { method: 'POST', body: new Uint32Array(unknown) });
    unknown.forEach((id, index) => names.set(id, found[index] ?? ''));
  }

  // One answer of the server: columns, and where the boxes of each item begin.
  class Window {
    constructor(buffer, from, to, pixel) {
      const [n, m, more] = new Uint32Array(buffer, 0, 4);
      Object.assign(this, { from, to, pixel, n, more: more === 1 });
      let at = 16;
      const take = (type, count) => { const column = new type(buffer, at, count); at += count * type.BYTES_PER_ELEMENT; return column; };
      this.start = take(Float64Array, n);
      this.dur = take(Float64Array, n);
      this.busy = take(Float64Array, n);
      this.count = take(Uint32Array, n);
      this.name = take(Uint32Array, n);
      this.slice = take(Uint32Array, n);
      this.item = take(Uint32Array, n);
      this.row = take(Uint32Array, n);
      at = Math.ceil(at / 8) * 8;
      this.sampleAt = take(Float64Array, m);
      this.sampleValue = take(Float64Array, m);
      this.sampleItem = take(Uint32Array, m);
      this.boxes = ranges(this.item);
      this.samples = ranges(this.sampleItem);
    }
  }

  function ranges(column) {
    const found = new Map();
    for (let index = 0; index < column.length;) {
      const first = index, item = column[index];
      while (index < column.length && column[index] === item) index++;
      found.set(item, [first, index]);
    }
    return found;
  }

  // Asks for what is on the screen and a margin around it; draws what it has until the answer
  // comes. One question at a time: while the user drags, only the last one counts.
  timeline.Windows = class {
    constructor(tree) {
      this.tree = tree;
      this.current = null;
      this.itemsKey = '';
      this.busy = false;
      this.again = null;
    }

    fits(view, items) {
      const it = this.current;
      return it && it.from <= Math.max(0, view.from) && it.to >= Math.min(view.length, view.to) && it.pixel <= view.pixel * 1.001
        && it.pixel >= view.pixel / 2.5 && items === this.itemsKey;
    }

    want(view, items) {
      if (this.fits(view, items)) return;
      if (this.busy) { this.again = [view, items]; return; }
      this.load(view, items);
    }

    async load(view, items) {
      this.busy = true;
      const span = view.to - view.from;
      const from = Math.max(-span, view.from - span / 2), to = view.to + span / 2;
      const pixels = Math.max(1, Math.round((to - from) / view.pixel));
      try {
        const path = 'window?from=' + from + '&to=' + to + '&px=' + pixels + '&items=' + items;
        const buffer = await (await timeline.ask(path)).arrayBuffer();
        const found = new Window(buffer, from, to, view.pixel);
        this.current = found;
        this.itemsKey = items;
        timeline.redraw();
        await learn(found.name);
      } catch (error) {
        timeline.complain(error);
      }
      this.busy = false;
      timeline.redraw();
      const again = this.again;
      this.again = null;
      if (again) this.want(...again);
    }
  };

  const UNITS = [[1e12, 's'], [1e9, 'ms'], [1e6, 'µs'], [1e3, 'ns'], [1, 'ps']];
  // A duration with as many digits as say something.
  timeline.time = function (picos, digits) {
    if (picos === 0) return '0';
    const [size, unit] = UNITS.find(([size]) => Math.abs(picos) >= size) ?? UNITS[4];
    const value = picos / size;
    const places = digits ?? Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
    return value.toFixed(Math.min(places, unit === 'ps' ? 0 : 3)) + ' ' + unit;
  };
  timeline.number = function (value) { return value.toLocaleString('en-US'); };

  return timeline;
})(window.timeline || {});
