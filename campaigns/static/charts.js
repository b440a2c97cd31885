// Draws the charts of a page from the rows in it; the same numbers stand beside each as a table.
(function () {
  "use strict";
  const percent = function (value) { return Math.round(value * 1000) / 10 + " %"; };
  const axis = function (name, most, colour) {
    return {
      type: "value", name: name, nameLocation: "middle", nameGap: 28, min: 0, max: most, nameTextStyle: { color: colour.text },
      axisLabel: { color: colour.text, formatter: function (value) { return Math.round(value * 100) + " %"; } },
      splitLine: { lineStyle: { color: colour.text, opacity: 0.2 } }, axisLine: { lineStyle: { color: colour.text, opacity: 0.4 } },
    };
  };
  const frame = function (x, y, series) {
    return {
      animation: false, grid: { left: 56, right: 16, top: 16, bottom: 48 }, xAxis: x, series: series,
      yAxis: Object.assign(y, { nameGap: 42 }), tooltip: { trigger: "item" },
    };
  };
  const diagonal = function (most, colour) {
    return {
      type: "line", data: [[0, 0], [most, most]], symbol: "none", silent: true,
      lineStyle: { color: colour.text, type: "dashed", width: 1 },
    };
  };
  const kinds = {
    reliability: function (rows, colour) {
      const highest = Math.max.apply(null, rows.map(function (row) { return Math.max(row[1], row[2]); }));
      const most = Math.min(1, Math.ceil(highest * 10 + 0.2) / 10);
      const largest = Math.max.apply(null, rows.map(function (row) { return row[0]; }));
      const points = {
        type: "line", data: rows.map(function (row) { return [row[1], row[2], row[0]]; }), color: colour.main,
        symbol: "circle", symbolSize: function (row) { return 5 + 7 * Math.sqrt(row[2] / largest); },
        tooltip: { formatter: function (at) {
          return "said " + percent(at.value[0]) + ", came true " + percent(at.value[1]) + "<br>" + at.value[2].toLocaleString("en") + " rows";
        } },
      };
      return frame(axis("said", most, colour), axis("came true", most, colour), [diagonal(most, colour), points]);
    },
    gains: function (rows, colour) {
      const points = {
        type: "line", data: [[0, 0, 0]].concat(rows), color: colour.main, symbolSize: 6, areaStyle: { opacity: 0.1 },
        tooltip: { formatter: function (at) {
          return "best " + percent(at.value[0]) + " of the rows<br>" + percent(at.value[1]) + " of the purchases";
        } },
      };
      return frame(axis("best-scored rows", 1, colour), axis("purchases found", 1, colour), [diagonal(1, colour), points]);
    },
  };
  const draw = function (place) {
    // Resolved by the browser: what the theme says may be a formula, which a canvas does not take.
    const colour = {
      text: getComputedStyle(place).color, main: getComputedStyle(document.body).getPropertyValue("--tblr-primary").trim(),
    };
    const chart = window.echarts.getInstanceByDom(place) || window.echarts.init(place);
    chart.setOption(kinds[place.dataset.chart](JSON.parse(place.dataset.rows), colour), true);
  };
  document.addEventListener("DOMContentLoaded", function () {
    if (!window.echarts) return;
    const places = Array.from(document.querySelectorAll("[data-chart]"));
    places.forEach(draw);
    window.addEventListener("resize", function () {
      places.forEach(function (place) { window.echarts.getInstanceByDom(place).resize(); });
    });
    new MutationObserver(function () { places.forEach(draw); })
      .observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
  });
})();
