// SPDX-License-Identifier: Apache-2.0
// Histograms of one modality: a small drawing a band, a line of steps a season.

import { h, s } from "./dom.js";

const WIDE = 160, HIGH = 56;
export const SEASON_COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/** Draw the bands of a modality: rows are { low, high, unit, counts by season }. */
export function histograms(rows, titles, seasons) {
  const key = h("ul", { class: "chips", "aria-label": "Seasons" }, seasons.map((name, i) => h("li", {},
    s("svg", { viewBox: "0 0 10 4", width: 16, height: 6, "aria-hidden": "true" }, s("rect", { width: 10, height: 4, fill: color(i) })), ` ${name}`)));
  return h("div", {}, key, h("div", { class: "bands" }, Object.entries(rows).map(([band, row]) => one(band, titles[band], row, seasons))));
}

const color = (season) => SEASON_COLORS[season % SEASON_COLORS.length];

function one(band, title, { low, high, unit, counts }, seasons) {
  const most = Math.max(1, ...counts.flat());
  const lines = counts.map((row, season) => {
    if (!row) return null; // cannot be read
    const points = row.map((n, i) => [i, i + 1].map((edge) => `${edge / row.length * WIDE},${HIGH - n / most * (HIGH - 2)}`).join(" ")).join(" ");
    return s("polyline", { points, fill: "none", stroke: color(season), "stroke-width": 1.4 });
  });
  const means = counts.map((row, i) => `${seasons[i]} ${meanOf(row, low, high)}`).join(", ");
  const name = `${band}, ${title}`;
  return h("figure", { class: "band" },
    s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `Histogram of ${name} from ${number(low)} to ${number(high)} ${unit}; means: ${means}` },
      s("line", { x1: 0, x2: WIDE, y1: HIGH, y2: HIGH, class: "axis" }), lines),
    h("div", { class: "ends" }, h("span", {}, number(low)), h("span", {}, number(high))),
    h("figcaption", {}, h("strong", {}, band), ` ${title} [${unit}]`));
}

function meanOf(row, low, high) {
  if (!row) return "cannot be read";
  const all = row.reduce((a, b) => a + b, 0);
  if (!all) return "none";
  const width = (high - low) / row.length;
  return number(row.reduce((sum, n, i) => sum + n * (low + (i + 0.5) * width), 0) / all);
}

const number = (value) => Number(value.toPrecision(3)).toString();
