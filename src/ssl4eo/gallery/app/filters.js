// SPDX-License-Identifier: Apache-2.0
// Which places are shown: each filter is some columns and a test of one location; the address keeps them all.

import { archive, asKept, columns, columnOf, positions } from "./data.js";
import { isNothing, readColor } from "./colors.js";

/** Names of the options of the address that are filters. */
export const FILTERS = ["mod", "from", "to", "cloud", "valid", "in", "where", "hide"];

const days = (text) => Math.floor(Date.parse(`${text}T00:00:00Z`) / 864e5);

/** Columns of a group, of one modality if it is named; those that tell of no modality always. */
export function ofGroup(group, modality = "") {
  return archive.columns.filter((c) => c.group === group && (!modality || !c.modality || c.modality === modality));
}

/** Read a number; NaN for nothing and for blanks, which Number takes for 0. */
export const numberOf = (word) => ((word ?? "").trim() === "" ? NaN : Number(word));

/** Read some numbers with commas between them; null if they are not as many, or one is missing. */
export function readNumbers(text, count) {
  const numbers = (text ?? "").split(",").map(numberOf);
  return numbers.length === count && numbers.every(Number.isFinite) ? numbers : null;
}

/** Read a bounding box `west,south,east,north`; null if it is none. */
export function readBox(text) {
  const box = readNumbers(text, 4);
  return box && box[1] <= box[3] ? box : null;
}

/** Read the modality that filters are of; empty for any. */
export function readModality(text) {
  return archive.modalities.some((m) => m.name === text) ? text : "";
}

/** Read two dates as [from, to] in days since 1970; an end that is open or cannot be read is infinite; null if the first is after the second. */
export function readDates(options) {
  const day = (name, open) => { const read = days(options.get(name) ?? ""); return Number.isNaN(read) ? open : read; };
  const from = day("from", -Infinity), to = day("to", Infinity);
  return from <= to ? [from, to] : null;
}

const TRUTH = { False: 0, True: 1 };

/** Whether a column has truth values: they count as 0 and 1. */
export const isTruth = (column) => column.kind === "category" && column.numeric && column.labels.every((label) => Object.hasOwn(TRUTH, label));

/** The numbers that the classes of a column stand for. */
const numbersOf = (column) => column.labels.map((label) => (isTruth(column) ? TRUTH[label] : Number(label)));

/** Whether a column is looked for by its words, not by numbers or dates. */
export const isWords = (column) => column.kind === "text" || (column.kind === "category" && !column.numeric);

/** Part `key~text` of a column of words, `key~low~high` of others: { column, words }; text may hold any mark. */
export function partsOf(where) {
  const text = where ?? "", at = text.indexOf("~"), key = at < 0 ? text : text.slice(0, at), rest = at < 0 ? "" : text.slice(at + 1);
  const column = columns.get(key) ?? null;
  return { column, words: column && isWords(column) ? [rest] : rest.split("~") };
}

/** Read what a column is filtered by; an empty end is open. null if there is none, or it cannot be read. */
export function readRange(where) {
  const { column, words: [low = "", high = ""] } = partsOf(where);
  if (!column || (low === "" && high === "")) return null;
  if (isWords(column)) return { column, text: low.toLowerCase() };
  const read = (word, open) => (word === "" ? open : column.kind === "date" ? days(word) : asKept(column, numberOf(word)));
  const range = { column, low: read(low, -Infinity), high: read(high, Infinity) };
  return range.low <= range.high ? range : null;
}

/** Tell which options of an address cannot be read: they are left out. */
export function faultsOf(options) {
  const given = (name) => options.get(name) ?? "", hide = given("hide").split(":")[0];
  const wrongDate = (name) => given(name) && Number.isNaN(days(given(name)));
  return [
    given("at") && !readNumbers(given("at"), 3) && `“${given("at")}” is not a view latitude,longitude,zoom.`,
    given("color") && !readColor(given("color")) && colorFault(given("color")),
    whereFault(given("where")),
    given("mod") && !readModality(given("mod")) && `There is no modality ${given("mod")}.`,
    ...["from", "to"].map((name) => wrongDate(name) && `“${given(name)}” is not a date.`),
    !readDates(options) && `Nothing is from ${given("from")} to ${given("to")}: the first date is after the second.`,
    given("cloud") && !Number.isFinite(numberOf(given("cloud"))) && `Cloud share: “${given("cloud")}” is not a number.`,
    given("valid") && given("valid") !== "1" && `Valid images: “${given("valid")}” is not 1.`,
    given("in") && !readBox(given("in")) && `“${given("in")}” is not a bounding box west,south,east,north.`,
    given("hide") && !readHidden(given("hide")) && (columns.has(hide) ? `“${given("hide")}” does not name classes of ${columns.get(hide).title}.` : `There is no column ${hide}.`),
  ].filter(Boolean);
}

function colorFault(text) {
  const column = columns.get(text.split(":")[0]);
  if (!column) return `There is no column ${text.split(":")[0]}.`;
  return column.kind === "text" ? `${column.title} is text without classes: it has no colors.` : `${column.title} has no season ${text.split(":")[1]}.`;
}

function whereFault(where) {
  const { column, words } = partsOf(where);
  if (!column) return where && `There is no column ${where.split("~")[0]}.`;
  if (words.every((word) => word === "") || readRange(where)) return "";
  const told = `${column.title}: “${words.filter(Boolean).join("” to “")}” is not`;
  const isRead = words.every((word) => word === "" || !Number.isNaN(column.kind === "date" ? days(word) : numberOf(word)));
  return isRead ? `${told} a range: the first is after the second.` : `${told} ${column.kind === "date" ? "a date" : "a number"}.`;
}

/** Read `key:code,code`: classes that are hidden. */
export function readHidden(text) {
  const [key, list = ""] = (text ?? "").split(":"), codes = list.split(",").map(numberOf);
  return columns.get(key)?.kind === "category" && codes.every((code) => columns.get(key).labels[code] !== undefined) ? { key, codes: new Set(codes) } : null;
}

/** Give the tests that the options ask for: [{ keys, test(values by key, index) }], with `box` for positions. */
export function testsOf(options) {
  const tests = [];
  const modality = readModality(options.get("mod"));
  const [from, to] = readDates(options) ?? [-Infinity, Infinity];
  if (from > -Infinity || to < Infinity) {
    const keys = ofGroup("date", modality).map((c) => c.key);
    tests.push({ keys, test: (values, i) => keys.some((k) => values[k].some((slot) => !isNothing(slot[i]) && slot[i] >= from && slot[i] <= to)) });
  }
  const cloud = numberOf(options.get("cloud"));
  if (Number.isFinite(cloud)) {
    const shares = ofGroup("cloud", modality).filter((c) => c.kind === "number").map((c) => ({ key: c.key, most: asKept(c, cloud) }));
    tests.push({ keys: shares.map((c) => c.key), test: (values, i) => shares.every(({ key, most }) => isNothing(values[key][0][i]) || values[key][0][i] <= most) });
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
  const numbers = column.kind === "category" && numbersOf(column);
  const within = (value) => value >= low && value <= high;
  return { keys: [key], test: (values, i) => values[key].some((slot) => !isNothing(slot[i]) && within(numbers ? numbers[slot[i]] : slot[i])) };
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
