// SPDX-License-Identifier: Apache-2.0
// From a value to a color: viridis (CC0) for numbers and dates, Okabe and Ito's colors for classes.

import { h, s } from "./dom.js";
import { columns } from "./data.js";

const RAMP = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"].map(rgb);
const CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#7a5195"];
export const NOTHING = "#9aa4af";
export const PLAIN = "#2f6db3";
const NO_CODE = 65535;

function rgb(text) {
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
}

/** Split `key:slot` of an option. */
export function readColor(option) {
  const [key, slot = "0"] = (option ?? "").split(":");
  const column = columns.get(key);
  if (!column || column.kind === "text" || !column.slots.some((_, i) => String(i) === slot)) return null;
  return { column, slot: Number(slot) };
}

/** Make the function from a value of a column to a color. */
export function colorOf(column) {
  if (!column) return () => PLAIN;
  if (column.kind === "category") return (code) => (isNothing(code) ? NOTHING : classColor(code));
  const width = column.high - column.low || 1;
  return (value) => (isNothing(value) ? NOTHING : rampColor((value - column.low) / width));
}

export const isNothing = (value) => value === null || value === NO_CODE || Number.isNaN(value);

function classColor(code) {
  return CLASSES[code] ?? `hsl(${Math.round((code * 137.5) % 360)} 55% 50%)`;
}

function rampColor(share) {
  const place = Math.max(0, Math.min(1, share)) * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(place)), part = place - low;
  return `rgb(${RAMP[low].map((v, i) => Math.round(v + part * (RAMP[low + 1][i] - v))).join(" ")})`;
}

const DIGITS = { float32: 7, float64: 15 };

/** Write a value as people read it: all digits that the column keeps. */
export function textOf(column, value) {
  if (isNothing(value)) return "unknown";
  if (column.kind === "date") return dateText(value);
  if (column.kind === "category") return column.labels[Math.round(value)] ?? "unknown";
  return Number(value.toPrecision(DIGITS[column.dtype])).toString();
}

/** Write a mean as people read it: four digits, or all before the point. */
export function meanText(column, value) {
  if (column.kind !== "number" || isNothing(value)) return textOf(column, value);
  const whole = Math.trunc(Math.abs(value)).toString().length;
  return Number.isFinite(value) && whole < 16 ? Number(value.toPrecision(Math.max(4, whole))).toString() : textOf(column, value);
}

export const dateText = (days) => new Date(Math.round(days) * 864e5).toISOString().slice(0, 10);

/** Draw the legend; classes are buttons that take them away and bring them back. */
export function legend(column, hidden, toggle) {
  if (!column) return h("p", { class: "muted" }, "All places have one color.");
  if (column.low === null) return h("p", { class: "muted" }, "No place has a value here.");
  if (column.kind === "category") {
    const most = 40, color = colorOf(column);
    const rows = column.labels.slice(0, most).map((label, code) => h("li", {},
      h("button", { type: "button", class: "chip", "aria-pressed": String(!hidden.has(code)), onclick: () => toggle(code) },
        s("svg", { viewBox: "0 0 10 10", width: 12, height: 12, "aria-hidden": "true" }, s("circle", { cx: 5, cy: 5, r: 5, fill: color(code) })),
        ` ${label}`)));
    const rest = column.labels.length - most;
    return h("div", {}, h("ul", { class: "chips", "aria-label": `${column.title}: press to hide or show` }, rows),
      rest > 0 && h("p", { class: "muted" }, `and ${rest} more`));
  }
  const stops = RAMP.map((c, i) => s("stop", { offset: i / (RAMP.length - 1), "stop-color": `rgb(${c.join(" ")})` }));
  return h("div", { class: "ramp" },
    s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": `colors from ${textOf(column, column.low)} to ${textOf(column, column.high)}` },
      s("defs", {}, s("linearGradient", { id: "ramp" }, stops)), s("rect", { width: 100, height: 8, fill: "url(#ramp)" })),
    h("span", {}, textOf(column, column.low)), h("span", {}, textOf(column, column.high)));
}
