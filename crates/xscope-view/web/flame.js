// An icicle chart of a tree {n: name, t: total, s: own, c: children}: click to zoom, words to find.
var xscope = (function (xscope) {
  'use strict';

  const ROW = 21;
  const NARROW = 1.5; // px
  const COLOURS = ['#9ecae9', '#ffbf79', '#a5d8a0', '#e7c5e0', '#f2dd7a', '#b9c4cf', '#f6b3a6', '#9fd6cd'];

  // A name keeps its colour wherever it occurs: layers that differ in a number look the same.
  function colour(name) {
    let hash = 0;
    for (const letter of name.replace(/\d+/g, '')) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
    return COLOURS[hash % COLOURS.length];
  }

  xscope.flame = function (figure, tree) {
    if (!tree || !(tree.t > 0)) return;
    const tools = document.createElement('div');
    const input = document.createElement('input');
    const reset = document.createElement('button');
    const said = document.createElement('span');
    const box = document.createElement('div');
    tools.className = 'tools';
    input.type = 'search';
    input.placeholder = 'Find a scope';
    input.setAttribute('aria-label', 'Find a scope');
    reset.type = 'button';
    reset.textContent = 'Whole';
    said.setAttribute('role', 'status');
    box.className = 'flame';
    tools.append(input, reset, said);
    figure.append(tools, box);
    let path = [tree];

    function describe(node) {
      return node.n + ': ' + xscope.time(node.t) + ', ' + (100 * node.t / tree.t).toFixed(1) + ' % of all, itself '
        + xscope.time(node.s);
    }

    function show(node) {
      const word = input.value.trim().toLowerCase();
      said.textContent = describe(node) + (word ? '; ' + xscope.time(found(tree, word)) + ' in what matches' : '');
    }

    // Time in the outermost scopes that match.
    function found(node, word) {
      if (node.n.toLowerCase().includes(word)) return node.t;
      return (node.c || []).reduce(function (sum, child) { return sum + found(child, word); }, 0);
    }

    function draw() {
      // Narrower than this part of the whole, a scope is left to its parent.
      const least = NARROW / (box.clientWidth || 800);
      const word = input.value.trim().toLowerCase();
      const focus = path[path.length - 1];
      let deepest = 0;
      box.textContent = '';
      function put(node, chain, left, size, depth) {
        deepest = Math.max(deepest, depth);
        const cell = document.createElement('div');
        const around = depth < path.length - 1;
        cell.style.left = 100 * left + '%';
        cell.style.width = 100 * size + '%';
        cell.style.top = depth * ROW + 'px';
        cell.style.backgroundColor = colour(node.n);
        const width = size / least * NARROW;
        if (width > 24) cell.textContent = node.n + (width > 150 ? '  ' + (100 * node.t / tree.t).toFixed(1) + ' %' : '');
        cell.title = describe(node);
        cell.className = around ? 'around' : '';
        if (word) cell.classList.add(node.n.toLowerCase().includes(word) ? 'match' : 'miss');
        cell.tabIndex = 0;
        cell.setAttribute('role', 'button');
        function zoom() { path = chain; draw(); }
        cell.addEventListener('click', zoom);
        cell.addEventListener('keydown', function (event) { if (event.key === 'Enter') zoom(); });
        cell.addEventListener('mouseenter', function () { show(node); });
        box.append(cell);
      }
      function below(node, chain, left, size, depth) {
        let at = left;
        for (const child of node.c || []) {
          const part = size * child.t / node.t;
          if (part >= least) {
            const next = chain.concat([child]);
            put(child, next, at, part, depth);
            below(child, next, at, part, depth + 1);
          }
          at += part;
        }
      }
      path.forEach(function (node, depth) { put(node, path.slice(0, depth + 1), 0, 1, depth); });
      below(focus, path, 0, 1, path.length);
      box.style.height = (deepest + 1) * ROW + 'px';
      show(focus);
    }

    reset.addEventListener('click', function () { path = [tree]; input.value = ''; draw(); });
    input.addEventListener('input', draw);
    xscope.onResize(box, draw);
    draw();
  };

  return xscope;
})(window.xscope || {});
