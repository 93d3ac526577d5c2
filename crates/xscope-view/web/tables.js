// Tables that are sorted by a click on a heading and filtered by words.
var xscope = (function (xscope) {
  'use strict';

  // What the units of the cells are worth. A bare prefix is that of a count.
  const UNITS = {
    ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1,
    '%': 1, x: 1, '': 1,
    k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15,
    B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15,
    'B/s': 1, 'kB/s': 1e3, 'MB/s': 1e6, 'GB/s': 1e9, 'TB/s': 1e12, 'PB/s': 1e15,
  };

  // The value of a cell such as "1.23 ms" or "-4.5 %"; what is no figure comes last.
  xscope.value = function (text) {
    const match = /^([-+]?[0-9.]+(?:e[-+]?\d+)?)\??\s*([A-Za-z%/]*)/.exec(text.trim());
    if (!match) return -Infinity;
    const unit = match[2] in UNITS ? UNITS[match[2]] : 1;
    return parseFloat(match[1]) * unit;
  };

  function sort(table, column, heading) {
    const descending = heading.getAttribute('aria-sort') !== 'descending';
    const numeric = heading.classList.contains('num');
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, function (row) {
      const text = row.cells[column].textContent;
      return [numeric ? xscope.value(text) : text.trim().toLowerCase(), row];
    });
    const sign = descending === numeric ? -1 : 1;
    keyed.sort(function (a, b) { return sign * (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0); });
    keyed.forEach(function (pair) { body.appendChild(pair[1]); });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    heading.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
  }

  function sortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (heading, column) {
      heading.tabIndex = 0;
      heading.title = 'Sort';
      heading.addEventListener('click', function () { sort(table, column, heading); });
      heading.addEventListener('keydown', function (event) {
        if (event.key === 'Enter' || event.key === ' ') {
          event.preventDefault();
          sort(table, column, heading);
        }
      });
    });
  }

  function filterable(table) {
    const rows = Array.from(table.tBodies[0].rows);
    const texts = rows.map(function (row) { return row.textContent.toLowerCase(); });
    const tools = document.createElement('div');
    const input = document.createElement('input');
    const count = document.createElement('span');
    tools.className = 'tools';
    input.type = 'search';
    input.placeholder = 'Filter: words that a row has';
    input.setAttribute('aria-label', 'Filter the table');
    count.setAttribute('role', 'status');
    count.textContent = rows.length + ' rows';
    input.addEventListener('input', function () {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach(function (row, index) {
        const fits = words.every(function (word) { return texts[index].includes(word); });
        row.hidden = !fits;
        if (fits) shown += 1;
      });
      count.textContent = words.length ? shown + ' of ' + rows.length + ' rows' : rows.length + ' rows';
    });
    tools.append(input, count);
    table.parentElement.before(tools);
  }

  xscope.tables = function (root) {
    root.querySelectorAll('table.sortable').forEach(sortable);
    root.querySelectorAll('table.filterable').forEach(filterable);
  };

  return xscope;
})(window.xscope || {});
