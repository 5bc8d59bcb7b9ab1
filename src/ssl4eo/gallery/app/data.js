// SPDX-License-Identifier: Apache-2.0
// The files of the site, each fetched when it is needed and once. All paths are relative to the page.

const held = new Map();

/** What went wrong with a file, in the words of the server where it has some. */
export class Wrong extends Error {}

async function get(path) {
  let answer;
  try {
    answer = await fetch(path);
  } catch {
    throw new Wrong(`${path} cannot be reached: is the gallery still there?`);
  }
  if (!answer.ok) {
    let told = `${path} is missing from this gallery (status ${answer.status})`;
    try { told = (await answer.json()).wrong ?? told; } catch { /* a plain web host: the status must do */ }
    throw new Wrong(told);
  }
  return answer;
}

function once(path, read) {
  if (!held.has(path)) {
    const promise = get(path).then(read);
    promise.catch(() => held.delete(path)); // another try may find it
    held.set(path, promise);
  }
  return held.get(path);
}

export const json = (path) => once(path, (answer) => answer.json());
export const buffer = (path) => once(path, (answer) => answer.arrayBuffer());

/** What the archive is, set once by `start`. */
export let archive = null;
/** Columns by key. */
export const columns = new Map();

/** Read what the archive is. */
export async function start() {
  archive = await json("data/archive.json");
  for (const column of archive.columns) columns.set(column.key, column);
  return archive;
}

/** The folder of a location; the site deals them to 256 by FNV-1a. */
export function folderOf(id) {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(id)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return `place/${(value % 256).toString(16).padStart(2, "0")}/${encodeURIComponent(id)}`;
}

/** Longitudes and latitudes of a block, and the same on the map: x and y, 0 to 1. */
export function positions(block) {
  return once(`data/blocks/${block}/position.bin`, async (answer) => placed(new Float32Array(await answer.arrayBuffer()), 2));
}

/** The world at a glance: as `positions`, with the number of locations in each cell. */
export function cells() {
  return once("data/cells.bin", async (answer) => placed(new Float32Array(await answer.arrayBuffer()), 3));
}

function placed(flat, parts) {
  const count = flat.length / parts;
  const lon = flat.subarray(0, count), lat = flat.subarray(count, 2 * count);
  const x = new Float64Array(count), y = new Float64Array(count);
  for (let i = 0; i < count; i++) { x[i] = (lon[i] + 180) / 360; y[i] = mercatorY(lat[i]); }
  return { count, lon, lat, x, y, weight: parts === 3 ? flat.subarray(2 * count) : null };
}

/** y of the map, 0 in the north. */
export function mercatorY(lat) {
  const bounded = Math.max(-85.0511, Math.min(85.0511, lat)) * Math.PI / 180;
  return 0.5 - Math.asinh(Math.tan(bounded)) / (2 * Math.PI);
}

/** A column of a block: an array for each slot. */
export function columnOf(block, key) {
  const column = columns.get(key);
  if (column.kind === "text") return json(`data/blocks/${block}/${key}.json`).then((values) => [values]);
  return once(`data/blocks/${block}/${key}.bin`, async (answer) => slots(await answer.arrayBuffer(), column));
}

/** A column of the cells: means, or the most common code. */
export function cellColumn(key) {
  const column = columns.get(key), Kept = column.dtype === "float64" ? Float64Array : Float32Array;
  return once(`data/cells/${key}.bin`, async (answer) => split(new Kept(await answer.arrayBuffer()), column.slots.length));
}

const ARRAYS = { uint16: Uint16Array, float32: Float32Array, float64: Float64Array };

function slots(bytes, column) {
  return split(new ARRAYS[column.dtype](bytes), column.slots.length);
}

/** A number as a column keeps it: 0.1 is at most 0.1 in float32, too. */
export const asKept = (column, number) => (column.dtype === "float32" ? Math.fround(number) : number);

function split(flat, parts) {
  const count = flat.length / parts;
  return Array.from({ length: parts }, (_, i) => flat.subarray(i * count, (i + 1) * count));
}

export const idsOf = (block) => json(`data/blocks/${block}/ids.json`);

/** Find ids that begin with some text, in order, `most` at most. */
export async function findIds(text, most) {
  const { ids } = archive;
  let file = ids.length - 1;
  while (file > 0 && ids[file] > text) file--;
  const found = [];
  for (; file < ids.length && found.length < most; file++) {
    if (file > 0 && ids[file] > text && !ids[file].startsWith(text)) break;
    for (const id of await json(`data/ids/${file}.json`)) {
      if (id.startsWith(text) && found.length < most) found.push(id);
    }
  }
  return found;
}
