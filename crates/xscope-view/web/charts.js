// The charts of a page, drawn with ECharts as SVG, so that they print. Every chart has its figures
// in a table beside it; patterns tell series apart without colour.
var xscope = (function (xscope) {
  'use strict';

  const PALETTE = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#b8a200', '#8c96a3'];
  const CAUSES = ['compile', 'transfer', 'no_request', 'peer', 'blocked', 'host', 'unknown'];

  // A duration in the unit that suits it.
  xscope.time = function (us) {
    const size = Math.abs(us);
    if (size >= 1e6) return +(us / 1e6).toPrecision(4) + ' s';
    if (size >= 1e3) return +(us / 1e3).toPrecision(4) + ' ms';
    if (size >= 1 || size === 0) return +us.toPrecision(4) + ' us';
    return +(us * 1e3).toPrecision(4) + ' ns';
  };

  function rate(value) {
    const steps = [[1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
    const step = steps.find(function (pair) { return value >= pair[0]; });
    return step ? +(value / step[0]).toPrecision(4) + ' ' + step[1] : +value.toPrecision(3) + ' ';
  }

  function short(text, most) {
    return text.length <= most ? text : text.slice(0, most - 1) + '…';
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    function of(name) { return style.getPropertyValue(name).trim(); }
    return { text: of('--text'), faint: of('--faint'), line: of('--line'), ground: of('--ground'), panel: of('--panel'), bad: of('--bad') };
  }

  // What all charts share. Tooltips are drawn as text: names may hold markup.
  function base(colour) {
    return {
      animation: false,
      color: PALETTE,
      backgroundColor: 'transparent',
      textStyle: { fontFamily: 'system-ui, sans-serif', color: colour.text },
      aria: { enabled: true, decal: { show: true } },
      tooltip: { renderMode: 'richText', confine: true, backgroundColor: colour.panel, borderColor: colour.line,
        textStyle: { color: colour.text, fontSize: 12 } },
      legend: { type: 'scroll', top: 0, textStyle: { color: colour.text }, formatter: function (name) { return short(name, 40); },
        pageTextStyle: { color: colour.text } },
      grid: { left: 8, right: 28, top: 40, bottom: 8 },
    };
  }

  function axis(colour, more) {
    return Object.assign({
      nameLocation: 'middle', nameGap: 30, nameTextStyle: { color: colour.faint },
      axisLabel: { color: colour.faint, hideOverlap: true }, axisLine: { lineStyle: { color: colour.line } },
      splitLine: { lineStyle: { color: colour.line } },
    }, more);
  }

  function zoom() {
    return [{ type: 'inside', filterMode: 'none', zoomOnMouseWheel: 'ctrl' }];
  }

  // Bars of parts, a row for each of `names`; `parts` are {name, values}.
  function stackedBars(colour, names, parts) {
    return Object.assign(base(colour), {
      height: 90 + 30 * names.length,
      xAxis: axis(colour, { type: 'value', axisLabel: { color: colour.faint, hideOverlap: true, formatter: xscope.time } }),
      yAxis: axis(colour, { type: 'category', data: names, inverse: true, axisLabel: { color: colour.text, formatter: function (name) { return short(name, 36); } } }),
      series: parts.map(function (part) {
        return { name: part.name, type: 'bar', stack: 'all', data: part.values, barMaxWidth: 22,
          tooltip: { valueFormatter: function (us) { return us == null ? '-' : xscope.time(us); } } };
      }),
    });
  }

  const DRAW = {
    histogram: function (data, colour) {
      const bins = data.histogram;
      if (!bins.length) return null;
      return Object.assign(base(colour), {
        height: 280,
        legend: { show: false },
        tooltip: Object.assign(base(colour).tooltip, { trigger: 'axis', formatter: function (items) {
          const bin = bins[items[0].dataIndex];
          return bin.count + ' requests\n' + bin.from_ms.toPrecision(4) + ' to ' + bin.to_ms.toPrecision(4) + ' ms';
        } }),
        xAxis: axis(colour, { type: 'category', name: 'latency, ms (bins grow by a constant factor)', data: bins.map(function (bin) { return String(+bin.from_ms.toPrecision(3)); }) }),
        yAxis: axis(colour, { type: 'value', name: 'requests', nameGap: 36, minInterval: 1 }),
        series: [{ name: 'requests', type: 'bar', barCategoryGap: '8%', data: bins.map(function (bin) { return bin.count; }) }],
      });
    },

    percentiles: function (data, colour) {
      const sides = data.a ? [['A', data.a], ['B', data.b]] : [['latency', data]];
      if (!sides.some(function (side) { return side[1].percentiles.length; })) return null;
      // So far out that each nine takes as much room as the one before.
      function place(percent) { return -Math.log10(1 - percent / 100); }
      const last = Math.max.apply(null, sides.flatMap(function (side) { return side[1].percentiles.map(function (pair) { return place(pair[0]); }); }));
      return Object.assign(base(colour), {
        height: 280,
        legend: Object.assign(base(colour).legend, { show: sides.length > 1 }),
        tooltip: Object.assign(base(colour).tooltip, { formatter: function (item) {
          return (sides.length > 1 ? item.seriesName + ' ' : '') + 'p' + item.value[2] + ': ' + item.value[1].toPrecision(5) + ' ms';
        } }),
        xAxis: axis(colour, { type: 'value', name: 'percentile', min: 0, max: Math.max(1, Math.ceil(last)), interval: 1, axisLabel: { color: colour.faint, formatter: function (at) { return 'p' + +(100 * (1 - Math.pow(10, -at))).toFixed(3); } } }),
        yAxis: axis(colour, { type: 'value', name: 'ms', nameGap: 40, min: 0 }),
        series: sides.map(function (side, index) {
          return { name: side[0], type: 'line', symbolSize: 8, symbol: index ? 'rect' : 'circle', lineStyle: { type: index ? 'dashed' : 'solid', width: 2 },
            label: { show: sides.length === 1, color: colour.text, position: 'top', formatter: function (item) { return item.value[1].toPrecision(3); } },
            data: side[1].percentiles.map(function (pair) { return [place(pair.percent), pair.latency_ms, pair.percent]; }) };
        }),
      });
    },

    roofline: function (data, colour) {
      const operations = data.roofline;
      if (!operations.length) return null;
      const most = Math.max.apply(null, operations.map(function (one) { return one.self_us; }));
      const symbols = { compute: 'circle', memory: 'diamond', unknown: 'triangle' };
      const kinds = ['compute', 'memory', 'unknown'].filter(function (kind) {
        return operations.some(function (one) { return one.bound_by === kind; });
      });
      const logs = function (get) { return operations.map(get).map(Math.log10); };
      const intensities = logs(function (one) { return one.intensity; });
      // Whole decades, so that the roofs have room to be seen.
      const ends = [Math.pow(10, Math.floor(Math.min.apply(null, intensities))), Math.pow(10, Math.floor(Math.max.apply(null, intensities)) + 1)];
      const low = Math.floor(Math.min.apply(null, logs(function (one) { return one.flops_per_sec; })));
      return Object.assign(base(colour), {
        height: 420,
        dataZoom: zoom(),
        legend: Object.assign(base(colour).legend, { show: true }),
        tooltip: Object.assign(base(colour).tooltip, { formatter: function (item) {
          if (!item.data.one) return item.name;
          const one = item.data.one;
          return short(one.name, 60) + '\n' + short(one.scope, 60) + '\n' + rate(one.flops_per_sec) + 'FLOP/s at '
            + one.intensity.toPrecision(3) + ' FLOP/B\nself time ' + xscope.time(one.self_us)
            + (one.efficiency == null ? '' : '\n' + (100 * one.efficiency).toFixed(1) + ' % of its roof');
        } }),
        xAxis: axis(colour, { type: 'log', name: 'intensity, FLOP for each byte', min: ends[0], max: ends[1] }),
        yAxis: axis(colour, { type: 'log', name: 'FLOP/s', nameGap: 56, min: Math.pow(10, low), axisLabel: { color: colour.faint, formatter: rate } }),
        series: kinds.map(function (kind) {
          return { name: kind === 'unknown' ? 'bound unknown (no peaks of this device)' : 'bound by ' + kind, type: 'scatter', symbol: symbols[kind], itemStyle: { opacity: 0.75, borderColor: colour.text, borderWidth: 0.5 },
            data: operations.filter(function (one) { return one.bound_by === kind; }).map(function (one) {
              return { value: [one.intensity, one.flops_per_sec], one: one, symbolSize: 6 + 34 * Math.sqrt(one.self_us / most) };
            }) };
        }).concat(roofs(operations, ends, colour)),
      });
    },

    devices: function (data, colour) {
      const rows = data.devices;
      if (!rows.length) return null;
      const parts = [['computation', 'computation_us'], ['exposed communication', 'communication_us'], ['exposed copies', 'copy_us'], ['idle', 'idle_us']];
      return stackedBars(colour, rows.map(function (row) { return row.name; }), parts.map(function (part) {
        return { name: part[0], values: rows.map(function (row) { return row[part[1]]; }) };
      }));
    },

    idle: function (data, colour) {
      const rows = data.idle;
      if (!rows.length) return null;
      const causes = CAUSES.filter(function (cause) {
        return rows.some(function (row) { return row[1].some(function (pair) { return pair[0] === cause && pair[1] > 0; }); });
      });
      return stackedBars(colour, rows.map(function (row) { return row[0]; }), causes.map(function (cause) {
        return { name: cause, values: rows.map(function (row) {
          const pair = row[1].find(function (pair) { return pair[0] === cause; });
          return pair ? pair[1] : 0;
        }) };
      }));
    },

    memory: function (data, colour) {
      const series = data.memory.concat(data.allocators).filter(function (one) { return one[1].length; });
      if (!series.length) return null;
      const owners = data.memory.length;
      return Object.assign(base(colour), {
        height: 320,
        dataZoom: zoom(),
        tooltip: Object.assign(base(colour).tooltip, { trigger: 'axis', valueFormatter: function (mb) { return mb == null ? '-' : mb.toFixed(2) + ' MB'; } }),
        xAxis: axis(colour, { type: 'value', name: 'time', axisLabel: { color: colour.faint, hideOverlap: true, formatter: xscope.time }, min: 'dataMin', max: 'dataMax' }),
        yAxis: axis(colour, { type: 'value', name: 'MB', nameGap: 52 }),
        series: series.map(function (one, index) {
          return { name: one[0], type: 'line', step: 'end', showSymbol: false, lineStyle: { width: 1.5 },
            stack: index < owners ? 'owners' : undefined, areaStyle: index < owners ? { opacity: 0.45 } : undefined, data: one[1] };
        }),
      });
    },

    compiles: function (data, colour) {
      if (!data.compiles.length) return null;
      const requests = data.requests;
      const end = Math.max.apply(null, data.compiles.map(function (one) { return one.start_us + one.duration_us; })
        .concat(requests.map(function (one) { return one.start_us; })));
      return Object.assign(base(colour), {
        height: 320,
        dataZoom: zoom(),
        legend: Object.assign(base(colour).legend, { show: true }),
        tooltip: Object.assign(base(colour).tooltip, { formatter: function (item) { return item.data && item.data.said || item.name; } }),
        xAxis: axis(colour, { type: 'value', name: 'time', max: end, axisLabel: { color: colour.faint, hideOverlap: true, formatter: xscope.time } }),
        yAxis: axis(colour, { type: 'value', name: 'ms', nameGap: 46, min: 0 }),
        series: [
          { name: 'compilation', type: 'scatter', symbol: 'triangle', symbolSize: 11,
            data: data.compiles.map(function (one) {
              return { value: [one.start_us, one.duration_us / 1e3], said: short(one.program, 60) + '\ncompiled for ' + xscope.time(one.duration_us)
                + ' (' + one.reason + ')' + (one.waiting === null ? '' : '\n' + one.waiting + ' requests waited') };
            }),
            markArea: { itemStyle: { color: colour.bad, opacity: 0.18 }, silent: true, data: data.compiles.slice(0, 200).map(function (one) {
              return [{ xAxis: one.start_us }, { xAxis: one.start_us + one.duration_us }];
            }) } },
          { name: 'request', type: 'scatter', symbolSize: 6, data: requests.map(function (one) {
            return { value: [one.start_us, one.latency_ms], said: short(one.request_id, 60) + '\n' + one.latency_ms.toPrecision(4) + ' ms' };
          }) },
        ].filter(function (one) { return one.data.length; }),
      });
    },

    collectives: function (data, colour) {
      const rows = data.collectives;
      if (!rows.length) return null;
      const split = rows.every(function (row) { return row.wait_us != null && row.transfer_us != null; });
      const parts = split ? [['waiting for the last device', 'wait_us'], ['moving', 'transfer_us']] : [['in all', 'total_us']];
      return stackedBars(colour, rows.map(function (row) { return row.name; }), parts.map(function (part) {
        return { name: part[0], values: rows.map(function (row) { return row[part[1]]; }) };
      }));
    },
  };

  // The roofs that the efficiencies imply: a peak is a rate over its share of it.
  function roofs(operations, ends, colour) {
    const peaks = {};
    for (const one of operations) {
      if (!(one.efficiency > 0)) continue;
      const peak = peaks[one.device] || (peaks[one.device] = {});
      if (one.bound_by === 'compute') peak.flops = one.flops_per_sec / one.efficiency;
      if (one.bound_by === 'memory') peak.bytes = one.flops_per_sec / one.intensity / one.efficiency;
    }
    const [least, most] = ends;
    const seen = new Set();
    const lines = [];
    for (const device of Object.keys(peaks)) {
      const peak = peaks[device];
      const key = [peak.flops, peak.bytes].map(function (x) { return x && x.toPrecision(3); }).join();
      if (seen.has(key) || seen.size === 4) continue;
      seen.add(key);
      let points = [];
      if (peak.bytes) points.push([least, least * peak.bytes]);
      if (peak.bytes && peak.flops) points.push([peak.flops / peak.bytes, peak.flops]);
      else if (peak.bytes) points.push([most, most * peak.bytes]);
      else if (peak.flops) points.push([least, peak.flops]);
      if (peak.flops) points.push([Math.max(most, peak.bytes ? peak.flops / peak.bytes : 0), peak.flops]);
      const said = [peak.flops && rate(peak.flops) + 'FLOP/s', peak.bytes && rate(peak.bytes) + 'B/s'].filter(Boolean).join(', ');
      lines.push({ name: 'roof: ' + said, type: 'line', showSymbol: false, lineStyle: { width: 2, type: 'solid', color: colour.text }, itemStyle: { color: colour.text }, data: points, silent: true });
    }
    return lines;
  }

  // Draws a chart in its figure, again when the window or the scheme changes.
  xscope.chart = function (figure, data) {
    const draw = DRAW[figure.dataset.chart];
    const first = draw && draw(data, colours());
    if (!first) {
      if (draw) figure.remove();
      return;
    }
    const box = document.createElement('div');
    box.className = 'plot';
    box.style.height = first.height + 'px';
    figure.append(box);
    const chart = window.echarts.init(box, null, { renderer: 'svg' });
    // A page on paper is of another width than the window: what is drawn shrinks with it.
    chart.on('rendered', function () {
      box.querySelector('svg').setAttribute('viewBox', '0 0 ' + chart.getWidth() + ' ' + chart.getHeight());
    });
    chart.setOption(first);
    xscope.onResize(box, function () { chart.resize(); });
    xscope.onScheme(function () { chart.setOption(draw(data, colours()), true); chart.resize(); });
  };

  return xscope;
})(window.xscope || {});
