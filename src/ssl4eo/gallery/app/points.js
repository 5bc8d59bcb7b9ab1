// SPDX-License-Identifier: Apache-2.0
// The canvas over the base map: clusters and single places; says what lies under the pointer.

import { styleColor } from "./dom.js";

const L = window.L;

export const Points = L.Layer.extend({
  initialize() { this.items = []; this.most = 1; this.color = () => ""; this.marked = null; },

  onAdd(map) {
    this._canvas = L.DomUtil.create("canvas", "leaflet-zoom-animated points");
    this._canvas.setAttribute("aria-hidden", "true"); // the list beside the map tells the same
    this.getPane().append(this._canvas);
    map.on("moveend resize", this._place, this);
    if (map.options.zoomAnimation) map.on("zoomanim", this._animate, this);
    this._place();
  },

  onRemove(map) {
    this._canvas.remove();
    map.off("moveend resize", this._place, this);
    map.off("zoomanim", this._animate, this);
  },

  /** Show items { x, y, count, value } (x and y 0 to 1); color(value) gives a color; marked is { x, y } or null. */
  show(items, color, marked = null) {
    const most = items.reduce((found, item) => Math.max(found, item.count), 1);
    Object.assign(this, { items: items.sort((a, b) => a.count - b.count), most, color, marked });
    if (this._map) this._draw();
  },

  /** Give the item under a point of the map's container [px], null if there is none. */
  at(point) {
    let best = null, nearest = Infinity;
    for (const item of this.items) {
      const at = this._onScreen(item), gap = Math.hypot(at.x - point.x, at.y - point.y);
      if (gap < Math.max(10, radius(item.count, this.most) + 2) && gap < nearest) [best, nearest] = [item, gap];
    }
    return best;
  },

  _onScreen({ x, y }) {
    const size = 256 * 2 ** this._map.getZoom(), origin = this._map.getPixelBounds().min;
    return { x: x * size - origin.x, y: y * size - origin.y };
  },

  _animate({ zoom, center }) {
    const scale = this._map.getZoomScale(zoom);
    const offset = this._map._latLngToNewLayerPoint(this._map.containerPointToLatLng([0, 0]), zoom, center);
    L.DomUtil.setTransform(this._canvas, offset, scale);
  },

  _place() {
    const size = this._map.getSize(), ratio = devicePixelRatio || 1;
    Object.assign(this._canvas, { width: size.x * ratio, height: size.y * ratio });
    Object.assign(this._canvas.style, { width: `${size.x}px`, height: `${size.y}px` });
    L.DomUtil.setTransform(this._canvas, this._map.containerPointToLayerPoint([0, 0]), 1);
    this._draw();
  },

  _draw() {
    const context = this._canvas.getContext("2d"), ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this._canvas.width, this._canvas.height);
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const edge = styleColor("--paper");
    for (const item of this.items) {
      const { x, y } = this._onScreen(item), r = radius(item.count, this.most), color = this.color(item.value);
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.fillStyle = color;
      context.globalAlpha = item.count > 1 ? 0.88 : 1;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 1.5;
      context.strokeStyle = edge;
      context.stroke();
      if (item.count > 1) {
        context.fillStyle = isDark(color) ? "#fff" : "#101418";
        context.fillText(short(item.count), x, y + 0.5);
      }
    }
    if (this.marked) {
      const { x, y } = this._onScreen(this.marked);
      context.beginPath();
      context.arc(x, y, 11, 0, 2 * Math.PI);
      context.lineWidth = 3;
      context.strokeStyle = styleColor("--accent");
      context.stroke();
    }
  },
});

/** By the share of the largest cluster in view: a dense archive does not cover the land. */
const radius = (count, most) => (count === 1 ? 5.5 : 12 + 9 * Math.sqrt(count / most));

function short(count) {
  if (count < 1000) return String(count);
  return count < 1e6 ? `${(count / 1000).toFixed(count < 1e4 ? 1 : 0)}k` : `${(count / 1e6).toFixed(1)}M`;
}

const shades = new Map();

function isDark(color) {
  if (!shades.has(color)) {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    if (shades.size > 500) shades.clear();
    shades.set(color, 0.299 * r + 0.587 * g + 0.114 * b < 140);
  }
  return shades.get(color);
}
