// Brings a page to life: tables, charts, and where in the page one is.
var xscope = (function (xscope) {
  'use strict';

  // Calls back when the width of an element changes.
  xscope.onResize = function (element, then) {
    let width = element.clientWidth;
    new ResizeObserver(function () {
      if (element.clientWidth !== width) {
        width = element.clientWidth;
        then();
      }
    }).observe(element);
  };

  // Calls back when the page becomes dark or light, or is printed.
  xscope.onScheme = function (then) {
    for (const query of ['(prefers-color-scheme: dark)', 'print']) window.matchMedia(query).addEventListener('change', then);
  };

  function navigation(root) {
    const links = new Map();
    root.querySelectorAll('nav a').forEach(function (link) { links.set(link.hash.slice(1), link); });
    const seen = new Set();
    const observer = new IntersectionObserver(function (entries) {
      for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
      let current = null;
      links.forEach(function (link, id) {
        link.removeAttribute('aria-current');
        if (!current && seen.has(id)) current = link;
      });
      if (current) current.setAttribute('aria-current', 'true');
    }, { rootMargin: '-100px 0px -60% 0px' });
    root.querySelectorAll('main > section').forEach(function (section) { observer.observe(section); });
  }

  const FLAMES = {
    flame: function (data) { return data.layers; },
    'flame-a': function (data) { return data.a.layers; },
    'flame-b': function (data) { return data.b.layers; },
  };

  // `data` is the content of the page's island.
  xscope.start = function (root, data) {
    xscope.tables(root);
    root.querySelectorAll('figure[data-chart]').forEach(function (figure) {
      const flame = FLAMES[figure.dataset.chart];
      if (flame) xscope.flame(figure, flame(data));
      else xscope.chart(figure, data);
    });
    navigation(root);
  };

  const island = document.getElementById('xscope-data');
  if (island) xscope.start(document, JSON.parse(island.textContent));
  document.documentElement.dataset.ready = 'true';
  return xscope;
})(window.xscope || {});
