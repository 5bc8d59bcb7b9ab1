// SPDX-License-Identifier: Apache-2.0
// A canvas of single dots over a Leaflet map: all of them, none gathered; those that are picked stand out.
// Coordinates are 0 to 1 on the square of the map, of the world as of the plane of embeddings.

import { styleColor } from "./dom.js";

const L = window.L;
const NEAR = 12;

export const Dots = L.Layer.extend({
  initialize(x, y, color) { Object.assign(this, { x, y, color, picked: null, focus: -1 }); },

  onAdd(map) {
    this._canvas = L.DomUtil.create("canvas", "leaflet-zoom-animated points");
    this._canvas.setAttribute("aria-hidden", "true"); // the list of picked places tells the same
    this.getPane().append(this._canvas);
    map.on("moveend resize", this.redraw, this);
    if (map.options.zoomAnimation) map.on("zoomanim", this._animate, this);
    this.redraw();
  },

  onRemove(map) {
    this._canvas.remove();
    map.off("moveend resize", this.redraw, this);
    map.off("zoomanim", this._animate, this);
  },

  /** Show a set of numbers as picked (null: none), and one of them in focus. */
  pick(picked, focus = -1) {
    Object.assign(this, { picked, focus });
    if (this._map) this.redraw();
  },

  /** Give the number of the dot under a point of the container [px], -1 if there is none. */
  at(point) {
    const { size, origin } = this._frame();
    let best = -1, nearest = NEAR;
    for (let i = 0; i < this.x.length; i++) {
      const gap = Math.hypot(this.x[i] * size - origin.x - point.x, this.y[i] * size - origin.y - point.y);
      if (gap < nearest) [best, nearest] = [i, gap]; // NaN is never less
    }
    return best;
  },

  /** Turn a point of the container [px] into coordinates 0 to 1. */
  placeOf(point) {
    const { size, origin } = this._frame();
    return [(point.x + origin.x) / size, (point.y + origin.y) / size];
  },

  _frame() { return { size: 256 * 2 ** this._map.getZoom(), origin: this._map.getPixelBounds().min }; },

  _animate({ zoom, center }) {
    const offset = this._map._latLngToNewLayerPoint(this._map.containerPointToLatLng([0, 0]), zoom, center);
    L.DomUtil.setTransform(this._canvas, offset, this._map.getZoomScale(zoom));
  },

  redraw() {
    const screen = this._map.getSize(), ratio = devicePixelRatio || 1;
    Object.assign(this._canvas, { width: screen.x * ratio, height: screen.y * ratio });
    Object.assign(this._canvas.style, { width: `${screen.x}px`, height: `${screen.y}px` });
    L.DomUtil.setTransform(this._canvas, this._map.containerPointToLayerPoint([0, 0]), 1);
    const context = this._canvas.getContext("2d"), { size, origin } = this._frame(), { x, y, picked } = this;
    context.scale(ratio, ratio);
    const r = x.length > 50_000 ? 1.5 : x.length > 5_000 ? 2.2 : 3.5;
    const each = (draw) => {
      for (let i = 0; i < x.length; i++) {
        const px = x[i] * size - origin.x, py = y[i] * size - origin.y;
        if (px > -r && py > -r && px < screen.x + r && py < screen.y + r) draw(i, px, py);
      }
    };
    const dot = (px, py, radius) => { context.beginPath(); context.arc(px, py, radius, 0, 2 * Math.PI); context.fill(); };
    context.globalAlpha = picked ? 0.28 : 0.85;
    each((i, px, py) => { if (!picked?.has(i)) { context.fillStyle = this.color(i); dot(px, py, r); } });
    if (!picked) return;
    context.globalAlpha = 1;
    context.strokeStyle = styleColor("--ink");
    context.lineWidth = 1;
    each((i, px, py) => { if (picked.has(i)) { context.fillStyle = this.color(i); dot(px, py, r + 2); context.stroke(); } });
    if (this.focus >= 0) {
      context.strokeStyle = styleColor("--accent");
      context.lineWidth = 3;
      context.beginPath();
      context.arc(x[this.focus] * size - origin.x, y[this.focus] * size - origin.y, r + 7, 0, 2 * Math.PI);
      context.stroke();
    }
  },
});

/** Say which dots lie in a polygon [[x, y], ...]: even-odd rule. */
export function inside(polygon, x, y) {
  const found = new Set();
  for (let i = 0; i < x.length; i++) {
    let odd = false;
    for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
      const [ax, ay] = polygon[a], [bx, by] = polygon[b];
      if (ay > y[i] !== by > y[i] && x[i] < ((bx - ax) * (y[i] - ay)) / (by - ay) + ax) odd = !odd;
    }
    if (odd) found.add(i);
  }
  return found;
}
