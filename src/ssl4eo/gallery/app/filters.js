// SPDX-License-Identifier: Apache-2.0
// Which places are shown: each filter is some columns and a test of one location; the address keeps them all.

import { archive, columns, columnOf, positions } from "./data.js";
import { isNothing } from "./colors.js";

/** Names of the options of the address that are filters. */
export const FILTERS = ["mod", "from", "to", "cloud", "valid", "in", "where", "hide"];

const days = (text) => Math.floor(Date.parse(`${text}T00:00:00Z`) / 864e5);

/** Columns of a group, of one modality if it is named; those that tell of no modality always. */
export function ofGroup(group, modality = "") {
  return archive.columns.filter((c) => c.group === group && (!modality || !c.modality || c.modality === modality));
}

/** Read a bounding box `west,south,east,north`; null if it is none. */
export function readBox(text) {
  const box = (text ?? "").split(",").map(Number);
  return box.length === 4 && box.every(Number.isFinite) && box[1] <= box[3] ? box : null;
}

/** Read `key~low~high`; an empty end is open. */
export function readRange(text) {
  const [key, low = "", high = ""] = (text ?? "").split("~");
  const column = columns.get(key);
  if (!column) return null;
  if (column.kind === "text" || column.kind === "category") return low ? { column, text: low.toLowerCase() } : null;
  const read = (word, open) => (word === "" ? open : column.kind === "date" ? days(word) : Math.fround(Number(word)));
  return low === "" && high === "" ? null : { column, low: read(low, -Infinity), high: read(high, Infinity) };
}

/** Read `key:code,code`: classes that are hidden. */
export function readHidden(text) {
  const [key, list = ""] = (text ?? "").split(":");
  return columns.has(key) && list ? { key, codes: new Set(list.split(",").map(Number)) } : null;
}

/** Give the tests that the options ask for: [{ keys, test(values by key, index) }], with `box` for positions. */
export function testsOf(options) {
  const tests = [];
  const modality = options.get("mod") ?? "";
  const from = options.get("from") ? days(options.get("from")) : -Infinity;
  const to = options.get("to") ? days(options.get("to")) : Infinity;
  if (from > -Infinity || to < Infinity) {
    const keys = ofGroup("date", modality).map((c) => c.key);
    tests.push({ keys, test: (values, i) => keys.some((k) => values[k].some((slot) => !isNothing(slot[i]) && slot[i] >= from && slot[i] <= to)) });
  }
  const cloud = options.get("cloud");
  if (cloud && Number.isFinite(Number(cloud))) {
    const keys = ofGroup("cloud", modality).map((c) => c.key), most = Math.fround(Number(cloud)); // as the column keeps numbers: 0.1 is at most 0.1
    tests.push({ keys, test: (values, i) => keys.every((k) => isNothing(values[k][0][i]) || values[k][0][i] <= most) });
  }
  if (options.get("valid") === "1") {
    const keys = ofGroup("valid", modality).map((c) => c.key);
    tests.push({ keys, test: (values, i) => keys.every((k) => !(values[k][0][i] > 0)) });
  }
  const range = readRange(options.get("where"));
  if (range) tests.push(rangeTest(range));
  const hidden = readHidden(options.get("hide"));
  if (hidden) tests.push({ keys: [hidden.key], test: (values, i) => !hidden.codes.has(values[hidden.key][0][i]) });
  const box = readBox(options.get("in"));
  if (box) tests.push({ keys: [], box, test: (values, i) => inBox(box, values.lon[i], values.lat[i]) });
  return tests;
}

function rangeTest({ column, text, low, high }) {
  const { key } = column;
  if (text !== undefined) {
    const labels = column.kind === "category" && column.labels.map((label) => label.toLowerCase().includes(text));
    return { keys: [key], test: (values, i) => {
      const value = values[key][0][i];
      return labels ? labels[value] === true : (value ?? "").toLowerCase().includes(text);
    } };
  }
  return { keys: [key], test: (values, i) => values[key].some((slot) => !isNothing(slot[i]) && slot[i] >= low && slot[i] <= high) };
}

/** Whether a point lies in a box; one whose west is east of its east crosses the antimeridian. */
export function inBox([west, south, east, north], lon, lat) {
  const inside = west <= east ? lon >= west && lon <= east : lon >= west || lon <= east;
  return inside && lat >= south && lat <= north;
}

/** Whether a block may hold points of a box. */
export function meets(box, [west, south, east, north]) {
  if (!box) return false;
  const across = west <= east ? box[2] >= west && box[0] <= east : box[2] >= west || box[0] <= east;
  return across && box[3] >= south && box[1] <= north;
}

const masks = new Map();

/** Give which locations of a block pass: a Uint8Array, null if there is no filter. Loads the columns that it needs. */
export async function maskOf(block, options) {
  const tests = testsOf(options);
  if (!tests.length) return null;
  const name = `${block} ${FILTERS.map((f) => options.get(f) ?? "").join("|")}`;
  if (!masks.has(name)) {
    if (masks.size > 2000) masks.clear();
    masks.set(name, makeMask(block, tests));
  }
  return masks.get(name);
}

async function makeMask(block, tests) {
  const { count } = archive.blocks[block];
  const mask = new Uint8Array(count);
  if (tests.some((t) => t.box && !meets(archive.blocks[block].box, t.box))) return mask;
  const keys = [...new Set(tests.flatMap((t) => t.keys))];
  const [place, ...read] = await Promise.all([positions(block), ...keys.map((key) => columnOf(block, key))]);
  const values = { lon: place.lon, lat: place.lat };
  keys.forEach((key, i) => { values[key] = read[i]; });
  for (let i = 0; i < count; i++) mask[i] = tests.every((t) => t.test(values, i)) ? 1 : 0;
  return mask;
}
