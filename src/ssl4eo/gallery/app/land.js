// SPDX-License-Identifier: Apache-2.0
// The base map: land of the package, drawn tile by tile; coarse for the world, finer pieces when they come into view.

import { archive, buffer, mercatorY } from "./data.js";
import { styleColor } from "./dom.js";

const L = window.L;
const FINE = 5, OVER = 257;
const pieces = new Map();

function pieceOf(name, west, south, wide, high) {
  if (!pieces.has(name)) {
    pieces.set(name, buffer(`data/land/${name}.bin`).then((bytes) => decode(bytes, west, south, wide, high)));
  }
  return pieces.get(name);
}

/** Read rings: x and y on the map (0 to 1) one after the other, with their bounding boxes. */
function decode(bytes, west, south, wide, high) {
  const head = new DataView(bytes), count = head.getUint32(0, true);
  const points = new Uint16Array(bytes, 4 * (count + 1));
  const rings = [];
  let at = 0;
  for (let r = 0; r < count; r++) {
    const length = head.getUint32(4 * (r + 1), true);
    const flat = new Float64Array(2 * length);
    let left = 1, right = 0, top = 1, bottom = 0;
    for (let i = 0; i < length; i++) {
      const x = (west + points[2 * (at + i)] / 65535 * wide + 180) / 360;
      const y = mercatorY(south + points[2 * (at + i) + 1] / 65535 * high);
      flat[2 * i] = x;
      flat[2 * i + 1] = y;
      left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
    rings.push({ flat, left, right, top, bottom });
    at += length;
  }
  return rings;
}

async function piecesIn(coords) {
  if (coords.z < FINE) return [await pieceOf("world", -180, -90, 360, 180)];
  const side = archive.piece, tiles = 2 ** coords.z;
  const lon = (x) => (x / tiles) * 360 - 180;
  const lat = (y) => Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / tiles))) * 180 / Math.PI;
  const column = (x) => Math.floor((lon(x) + 180) / side), row = (y) => Math.floor((lat(y) + 90) / side);
  const names = [];
  for (let i = column(coords.x); i <= Math.min(360 / side - 1, column(coords.x + 0.999)); i++) {
    for (let j = row(coords.y + 0.999); j <= Math.min(180 / side - 1, row(coords.y)); j++) names.push([i, j]);
  }
  return Promise.all(names.map(([i, j]) => pieceOf(`${i}-${j}`, i * side - 180, j * side - 90, side, side)));
}

export const Land = L.GridLayer.extend({
  options: { noWrap: true, updateWhenIdle: false, attribution: "land: Natural Earth" },

  _initTile(tile) { // a pixel over the edge: between zoom levels tiles are scaled, and seams would show
    L.GridLayer.prototype._initTile.call(this, tile);
    tile.style.width = tile.style.height = `${OVER}px`;
  },

  createTile(coords, done) {
    const ratio = Math.min(2, devicePixelRatio || 1), size = OVER;
    const tile = document.createElement("canvas");
    tile.width = tile.height = size * ratio;
    piecesIn(coords).then((parts) => {
      draw(tile.getContext("2d"), parts, coords, 256 * ratio);
      done(null, tile);
    }, (error) => done(error, tile));
    return tile;
  },
});

function draw(context, parts, { x, y, z }, size) {
  const tiles = 2 ** z, scale = tiles * size;
  const left = x / tiles, right = (x + 1.01) / tiles, top = y / tiles, bottom = (y + 1.01) / tiles;
  context.fillStyle = context.strokeStyle = styleColor("--land");
  context.lineWidth = 0.7;
  for (const rings of parts) {
    context.beginPath();
    for (const ring of rings) {
      if (ring.right < left || ring.left > right || ring.bottom < top || ring.top > bottom) continue;
      const { flat } = ring;
      for (let i = 0; i < flat.length; i += 2) {
        const px = (flat[i] - left) * scale, py = (flat[i + 1] - top) * scale;
        if (i) context.lineTo(px, py); else context.moveTo(px, py);
      }
      context.closePath();
    }
    context.fill("evenodd");
    context.stroke();
  }
}
