// SPDX-License-Identifier: Apache-2.0
// Points that lie close on the screen become one: a grid that is fixed to the map, so that clusters stay when it moves.

import { isNothing } from "./colors.js";

const SIDE = 52;
const ROW = 2 ** 22;

/**
 * Gather points.
 * parts: [{ x, y, weight, mask, values, block }], weight, mask and values may be null; view: { west, north, east, south } in 0..1.
 * Gives [{ x, y, count, value, block, index }]: means of position; value is a mean, or the most common class if `classes`;
 * block and index are of the single point.
 */
export function gather(parts, zoom, view, classes) {
  const side = zoom >= 12 ? SIDE / 4 : zoom >= 9 ? SIDE / 2 : SIDE;
  const scale = (256 * 2 ** zoom) / side;
  const groups = new Map();
  for (const part of parts) {
    const { x, y, weight, mask, values } = part;
    for (let i = 0; i < x.length; i++) {
      if (x[i] < view.west || x[i] > view.east || y[i] < view.north || y[i] > view.south) continue;
      if (mask && !mask[i]) continue;
      const key = Math.floor(x[i] * scale) * ROW + Math.floor(y[i] * scale);
      let group = groups.get(key);
      if (!group) {
        group = { x: 0, y: 0, count: 0, sum: 0, known: 0, votes: null, block: part.block, index: i };
        groups.set(key, group);
      }
      const w = weight ? weight[i] : 1;
      group.x += w * x[i];
      group.y += w * y[i];
      group.count += w;
      if (values && !isNothing(values[i])) {
        if (classes) (group.votes ??= new Map()).set(values[i], (group.votes.get(values[i]) ?? 0) + w);
        group.sum += w * values[i];
        group.known += w;
      }
    }
  }
  return merged([...groups.values()], 0.55 / scale, classes).map((g) => ({
    x: g.x / g.count, y: g.y / g.count, count: Math.round(g.count), value: valueOf(g, classes), block: g.block, index: g.index,
  }));
}

/** Join groups whose middles are nearer than `gap`, small ones to large ones: cells next to each other may overlap. */
function merged(groups, gap, classes) {
  const kept = [], near = new Map(), bin = (v) => Math.floor(v / gap);
  for (const group of groups.sort((a, b) => b.count - a.count)) {
    const x = group.x / group.count, y = group.y / group.count;
    let home = null;
    for (let i = -1; i <= 1 && !home; i++) {
      for (let j = -1; j <= 1 && !home; j++) {
        home = (near.get((bin(x) + i) * ROW + bin(y) + j) ?? []).find((k) => Math.hypot(k.x / k.count - x, k.y / k.count - y) < gap);
      }
    }
    if (home) { join(home, group, classes); continue; }
    kept.push(group);
    const key = bin(x) * ROW + bin(y);
    if (!near.has(key)) near.set(key, []);
    near.get(key).push(group);
  }
  return kept;
}

function join(home, group, classes) {
  for (const name of ["x", "y", "count", "sum", "known"]) home[name] += group[name];
  if (!classes || !group.votes) return;
  home.votes ??= new Map();
  for (const [value, votes] of group.votes) home.votes.set(value, (home.votes.get(value) ?? 0) + votes);
}

function valueOf(group, classes) {
  if (!group.known) return null;
  if (!classes) return group.sum / group.known;
  let best = null, most = 0;
  for (const [value, votes] of group.votes) if (votes > most) [best, most] = [value, votes];
  return best;
}
