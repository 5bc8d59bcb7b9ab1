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
  return [...groups.values()].map((g) => ({
    x: g.x / g.count, y: g.y / g.count, count: Math.round(g.count), value: valueOf(g, classes), block: g.block, index: g.index,
  }));
}

function valueOf(group, classes) {
  if (!group.known) return null;
  if (!classes) return group.sum / group.known;
  let best = null, most = 0;
  for (const [value, votes] of group.votes) if (votes > most) [best, most] = [value, votes];
  return best;
}
