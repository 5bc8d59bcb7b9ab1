// SPDX-License-Identifier: Apache-2.0
// The map page: base map, points, panel of filters, and a list of the places in view that tells the same without a map.

import { archive, cellColumn, cells, columnOf, idsOf, positions } from "./data.js";
import { colorOf, isNothing, legend, meanText, readColor, textOf } from "./colors.js";
import { maskOf, meets, readBox, readHidden, readNumbers, testsOf } from "./filters.js";
import { gather } from "./cluster.js";
import { announce, h, settled } from "./dom.js";
import { Land } from "./land.js";
import { placeList } from "./list.js";
import { panel } from "./panel.js";
import { Points } from "./points.js";
import { linkTo, readState, rememberMap, setOptions } from "./state.js";

const L = window.L;
const FEW = 20_000;
const WORLD_ZOOM = 3.5;

/** Draw the page into an element; gives what takes it away. */
export function showMap(main) {
  const box = h("div", { id: "map", class: "map", role: "application", "aria-label": "Map of the places; arrow keys move it, plus and minus zoom. The list after it has the same places." });
  const controls = h("div", { class: "side" }), list = h("section", { class: "list", "aria-label": "Places in view" });
  const colors = h("div", { class: "legend" });
  main.replaceChildren(h("div", { class: "atlas" }, controls, h("div", { class: "mapbox" }, box, colors), list));
  const map = L.map(box, { minZoom: 0, maxZoom: 17, zoomSnap: 0.5, worldCopyJump: false, maxBounds: [[-89, -220], [89, 220]], attributionControl: true });
  map.attributionControl.setPrefix(false);
  new Land().addTo(map);
  const points = new Points();
  start(map, readState().options);
  points.addTo(map);
  const view = { map, points, list, colors, tip: h("div", { class: "tip", hidden: true, "aria-hidden": "true" }) };
  box.append(view.tip);
  const end = new AbortController();
  const again = settled(() => refresh(view), 60);
  panel(controls, { changed: again, go: (lat, lon, zoom) => map.setView([lat, lon], zoom), bounds: () => boundsOf(map), signal: end.signal });
  map.on("moveend", () => {
    const { lat, lng } = map.getCenter();
    setOptions({ at: `${lat.toFixed(4)},${lng.toFixed(4)},${map.getZoom()}` });
    again();
  });
  map.on("click", (event) => choose(view, points.at(event.containerPoint)));
  map.on("mousemove", settled((event) => hover(view, event), 30));
  map.on("mouseout", () => { view.tip.hidden = true; });
  const themed = () => { map.eachLayer((layer) => layer.redraw?.()); points._draw(); };
  addEventListener("themechange", themed, { signal: end.signal });
  refresh(view);
  return () => { end.abort(); view.gone = true; map.remove(); };
}

function start(map, options) {
  const at = readNumbers(options.get("at"), 3);
  if (at) { map.setView([at[0], at[1]], at[2], { animate: false }); return; }
  const boxes = archive.blocks.map((b) => b.box).filter(Boolean);
  if (!boxes.length) { map.setView([20, 0], 1.5, { animate: false }); return; }
  const least = (i) => Math.min(...boxes.map((b) => b[i])), most = (i) => Math.max(...boxes.map((b) => b[i]));
  if (most(2) - least(0) > 200) { // all around the Earth: the width of the map is the width of the world
    map.setView([25, 0], Math.floor(2 * Math.log2((map.getSize().x + 60) / 256)) / 2, { animate: false });
    return;
  }
  map.fitBounds([[least(1), least(0)], [most(3), most(2)]], { padding: [8, 8], maxZoom: 10, animate: false });
}

function boundsOf(map) {
  const b = map.getBounds();
  return [Math.max(-180, b.getWest()), Math.max(-90, b.getSouth()), Math.min(180, b.getEast()), Math.min(90, b.getNorth())];
}

let turn = 0;

/** Load what the view needs and draw it; a later call makes an earlier one give up. */
async function refresh(view) {
  const mine = ++turn, { map, points, list, colors } = view;
  if (view.gone) return;
  rememberMap();
  const { options } = readState();
  const shade = readColor(options.get("color"));
  showLegend(view, shade, options);
  const bounds = boundsOf(map);
  const wide = { west: (bounds[0] + 180) / 360, east: (bounds[2] + 180) / 360, north: map.project(map.getBounds().getNorthWest(), 0).y / 256, south: map.project(map.getBounds().getSouthEast(), 0).y / 256 };
  try {
    const blocks = archive.blocks.map((_, i) => i).filter((i) => meets(archive.blocks[i].box, bounds));
    const many = blocks.reduce((sum, i) => sum + archive.blocks[i].count, 0) > FEW;
    const coarse = many && map.getZoom() <= WORLD_ZOOM && !testsOf(options).length;
    const parts = coarse ? [await cellPart(shade)] : await Promise.all(blocks.map((i) => blockPart(i, options, shade)));
    if (mine !== turn || view.gone) return;
    const items = gather(parts, map.getZoom(), wide, shade?.column.kind === "category");
    view.coarse = coarse;
    points.show(items, colorOf(shade?.column));
    const count = items.reduce((sum, item) => sum + item.count, 0);
    const words = `${count.toLocaleString("en")} of ${archive.count.toLocaleString("en")} places in view`;
    placeList(list, { words, blocks: listed(blocks), bounds: readBox(options.get("in")) ? null : bounds, options, shade });
    announce(words);
    document.documentElement.dataset.ready = String(mine); // for tests: this view is drawn
  } catch (error) {
    if (mine !== turn || view.gone) return;
    list.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
  }
}

/** Blocks whose places the list goes through: those in view, and those without coordinates where there is no map for them. */
function listed(blocks) {
  return [...blocks, ...archive.blocks.map((_, i) => i).filter((i) => !archive.blocks[i].box)];
}

async function cellPart(shade) {
  const [part, values] = await Promise.all([cells(), shade && cellColumn(shade.column.key)]);
  return { ...part, mask: null, values: values?.[shade.slot] ?? null, block: null };
}

async function blockPart(block, options, shade) {
  const [part, mask, values] = await Promise.all([positions(block), maskOf(block, options), shade && columnOf(block, shade.column.key)]);
  return { ...part, mask, values: values?.[shade.slot] ?? null, block };
}

function showLegend({ colors }, shade, options) {
  const hidden = readHidden(options.get("hide"));
  const codes = hidden && hidden.key === shade?.column.key ? hidden.codes : new Set();
  const toggle = (code) => {
    const next = new Set(codes);
    if (!next.delete(code)) next.add(code);
    setOptions({ hide: next.size ? `${shade.column.key}:${[...next].join(",")}` : null });
    dispatchEvent(new Event("optionschange"));
  };
  const drawn = JSON.stringify([shade?.column.key, shade?.slot, [...codes]]);
  if (colors.dataset.drawn === drawn) return; // a button that has the focus keeps it
  const focus = [...colors.querySelectorAll("button")].indexOf(document.activeElement);
  colors.dataset.drawn = drawn;
  colors.replaceChildren(...(shade ? [h("h2", {}, title(shade)), legend(shade.column, codes, toggle)] : []));
  if (focus >= 0) colors.querySelectorAll("button")[focus]?.focus();
}

const title = ({ column, slot }) => (column.slots[slot] ? `${column.title}, ${column.slots[slot]}` : column.title);

async function choose({ map, coarse }, item) {
  if (!item) return;
  if (item.count > 1 || coarse) {
    if (map.getZoom() < map.getMaxZoom()) { map.setView(map.unproject([item.x * 256, item.y * 256], 0), Math.min(map.getMaxZoom(), map.getZoom() + 2)); return; }
  }
  location.hash = linkTo("place", (await idsOf(item.block))[item.index]);
}

async function hover({ map, points, tip, coarse, gone }, event) {
  if (gone) return;
  const item = points.at(event.containerPoint), { options } = readState();
  const shade = readColor(options.get("color"));
  map.getContainer().style.cursor = item ? "pointer" : "";
  if (!item) { tip.hidden = true; return; }
  const value = shade && !isNothing(item.value) ? `, ${(item.count > 1 ? meanText : textOf)(shade.column, item.value)}${item.count > 1 ? (shade.column.kind === "category" ? " most often" : " on average") : ""}` : "";
  const name = item.count > 1 || coarse || item.block === null ? `${item.count.toLocaleString("en")} places` : (await idsOf(item.block))[item.index];
  tip.textContent = `${name}${value}`;
  Object.assign(tip.style, { left: `${event.containerPoint.x + 14}px`, top: `${event.containerPoint.y + 10}px` });
  tip.hidden = false;
}
