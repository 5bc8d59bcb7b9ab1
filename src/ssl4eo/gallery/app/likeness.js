// SPDX-License-Identifier: Apache-2.0
// The page of likeness: the plane of each network beside the map of the world, what is picked on one shown on all.
// A pick is a place (pick=ID) or an area (area=PANEL:x,y;x,y;...), both in the address.

import { archive, buffer, columnOf, idsOf, json, positions } from "./data.js";
import { colorOf, legend, PLAIN, readColor } from "./colors.js";
import { Dots, inside } from "./dots.js";
import { announce, h } from "./dom.js";
import { Land } from "./land.js";
import { thumb } from "./list.js";
import { linkTo, readState, setOptions } from "./state.js";

const L = window.L;
const SHOWN = 60;
const WORLD = "world";

/** Draw the page into an element; gives what takes it away. */
export function showLikeness(main) {
  const view = { gone: false, maps: [], panels: new Map(), tool: "look" };
  main.replaceChildren(h("p", { class: "wait" }, "Loading…"));
  draw(main, view).catch((error) => {
    if (!view.gone) main.replaceChildren(h("h1", {}, "Likeness"), h("p", { class: "wrong", role: "alert" }, error.message));
  });
  const themed = () => view.panels.forEach(({ dots, map }) => { map.eachLayer((layer) => layer.redraw?.()); dots.redraw(); });
  const again = () => restore(view);
  addEventListener("themechange", themed);
  addEventListener("optionschange", again);
  return () => {
    view.gone = true;
    removeEventListener("themechange", themed);
    removeEventListener("optionschange", again);
    view.panels.forEach(({ map }) => map.remove());
  };
}

async function draw(main, view) {
  const numbers = archive.blocks.map((_, i) => i);
  const [summary, blocks, planes] = await Promise.all([
    json("data/likeness.json"), Promise.all(numbers.map(positions)),
    Promise.all(archive.likeness.map((_, n) => Promise.all(numbers.map((b) => buffer(`data/likeness/${n}/${b}.bin`))))),
  ]);
  if (view.gone) return;
  view.starts = archive.blocks.reduce((starts, block) => [...starts, starts.at(-1) + block.count], [0]);
  view.color = () => PLAIN;
  const picked = h("section", { class: "picked", "aria-label": "Picked places" }), legends = h("div", { class: "legendline" });
  Object.assign(view, { picked, legends });
  const panels = h("div", { class: "panels" });
  main.replaceChildren(h("article", { class: "place likeness" },
    h("header", { class: "placehead" }, h("h1", { tabindex: -1 }, "Likeness"), agreement(summary)),
    tools(view), legends, panels, picked, outliers(summary)));
  view.openings = [];
  const named = (n) => `As ${archive.likeness[n].name} sees it`;
  archive.likeness.forEach((_, n) => panels.append(panel(view, String(n), named(n), "Near means alike; distances between groups and their sizes mean nothing.", ...halves(planes[n]))));
  panels.append(panel(view, WORLD, "Where it is", "", join(blocks.map((b) => b.x)), join(blocks.map((b) => b.y))));
  view.openings.forEach((open) => open()); // Leaflet measures what is on the page
  await Promise.all([recolor(view), restore(view)]);
  document.documentElement.dataset.ready = "likeness";
}

const join = (parts) => {
  const out = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { out.set(part, at); at += part.length; }
  return out;
};

/** Split the files of a plane into x and y of all places. */
function halves(files) {
  const flats = files.map((bytes) => new Float32Array(bytes));
  return [join(flats.map((f) => f.subarray(0, f.length / 2))), join(flats.map((f) => f.subarray(f.length / 2)))];
}

function panel(view, name, title, note, x, y) {
  const box = h("div", { class: "map", role: "application", "aria-label": `${title}; arrow keys move it, plus and minus zoom. Picked places are listed below.` });
  const element = h("section", { class: "panel", "aria-label": title }, h("h2", {}, title), h("div", { class: "mapbox" }, box), note && h("p", { class: "muted" }, note));
  view.openings.push(() => {
    const isWorld = name === WORLD;
    const map = L.map(box, { minZoom: 0, maxZoom: isWorld ? 17 : 10, zoomSnap: 0.25, boxZoom: false, worldCopyJump: false, attributionControl: false, zoomAnimation: false });
    if (isWorld) new Land().addTo(map);
    const dots = new Dots(x, y, (i) => view.color(i));
    map.fitBounds(boundsOf(map, x, y), { padding: [16, 16], maxZoom: 10, animate: false });
    dots.addTo(map);
    view.panels.set(name, { map, dots, box });
    map.on("click", (event) => { if (view.tool === "look") choose(view, dots.at(event.containerPoint)); });
    drawing(view, name, map, dots, box);
  });
  return element;
}

function boundsOf(map, x, y) {
  let [west, north, east, south] = [1, 1, 0, 0];
  for (let i = 0; i < x.length; i++) {
    if (Number.isNaN(x[i])) continue;
    west = Math.min(west, x[i]); east = Math.max(east, x[i]); north = Math.min(north, y[i]); south = Math.max(south, y[i]);
  }
  if (west > east) [west, north, east, south] = [0, 0, 1, 1];
  return [map.unproject([west * 256, south * 256], 0), map.unproject([east * 256, north * 256], 0)];
}

/** Draw areas with the pointer while a tool for it is chosen. */
function drawing(view, name, map, dots, box) {
  const outline = h("canvas", { class: "outline", "aria-hidden": "true" });
  box.append(outline);
  let path = null;
  const at = (event) => { const r = box.getBoundingClientRect(); return { x: event.clientX - r.left, y: event.clientY - r.top }; };
  const shape = () => (view.tool === "lasso" || path.length < 2 ? path : [path[0], { x: path.at(-1).x, y: path[0].y }, path.at(-1), { x: path[0].x, y: path.at(-1).y }]);
  const trace = () => {
    Object.assign(outline, { width: box.clientWidth, height: box.clientHeight });
    if (!path) return;
    const context = outline.getContext("2d");
    context.lineWidth = 2;
    context.strokeStyle = getComputedStyle(box).getPropertyValue("--accent");
    context.beginPath();
    shape().forEach((p) => context.lineTo(p.x, p.y));
    context.closePath();
    context.stroke();
  };
  box.addEventListener("pointerdown", (event) => {
    if (view.tool === "look" || event.button > 0 || event.target.closest(".leaflet-control")) return;
    event.preventDefault();
    event.stopPropagation();
    box.setPointerCapture(event.pointerId);
    path = [at(event)];
  }, true);
  box.addEventListener("pointermove", (event) => {
    if (!path) return;
    const point = at(event), last = path.at(-1);
    if (Math.hypot(point.x - last.x, point.y - last.y) > 4) path.push(point);
    trace();
  }, true);
  const end = (event) => {
    if (!path) return;
    if (event.type === "pointerup") path.push(at(event));
    const corners = shape().map((p) => dots.placeOf(p)), big = path.length > 2;
    path = null;
    trace();
    if (!big || event.type !== "pointerup") return;
    setOptions({ pick: null, area: `${name}:${corners.map(([x, y]) => `${x.toFixed(5)},${y.toFixed(5)}`).join(";")}` });
    restore(view);
  };
  box.addEventListener("pointerup", end, true);
  box.addEventListener("pointercancel", end, true);
}

function tools(view) {
  const kinds = { look: "Move and click", box: "Pick in a box", lasso: "Pick with a lasso" };
  const buttons = Object.entries(kinds).map(([name, title]) => h("button", { type: "button", "data-tool": name, "aria-pressed": String(name === view.tool), onclick: () => use(name) }, title));
  const use = (name) => {
    view.tool = name;
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.tool === name)));
    view.panels.forEach(({ map, box }) => { map.dragging[name === "look" ? "enable" : "disable"](); box.classList.toggle("drawn", name !== "look"); });
    announce(kinds[name]);
  };
  const color = h("select", { id: "color", onchange: () => { setOptions({ color: color.value || null }); recolor(view); } }, h("option", { value: "" }, "one color"),
    archive.columns.filter((c) => c.kind !== "text").flatMap((c) => c.slots.map((slot, i) => h("option", { value: c.slots.length > 1 ? `${c.key}:${i}` : c.key }, slot ? `${c.title}, ${slot}` : c.title))));
  color.value = readState().options.get("color") ?? "";
  const id = h("input", { id: "pick", type: "search", autocomplete: "off", spellcheck: "false" });
  const go = (event) => { event.preventDefault(); setOptions({ pick: id.value.trim() || null, area: null }); restore(view); };
  return h("div", { class: "tools" },
    h("div", { role: "group", "aria-label": "What the pointer does", class: "group" }, buttons),
    h("div", { class: "field" }, h("label", { for: "color" }, "Color by"), color),
    h("form", { class: "field", onsubmit: go }, h("label", { for: "pick" }, "Pick an id"), id),
    h("button", { type: "button", class: "quiet", id: "nothing", onclick: () => { setOptions({ pick: null, area: null }); id.value = ""; restore(view); } }, "Pick nothing"));
}

async function recolor(view) {
  const shade = readColor(readState().options.get("color"));
  if (!shade) view.color = () => PLAIN;
  else {
    const values = join((await Promise.all(archive.blocks.map((_, b) => columnOf(b, shade.column.key)))).map((slots) => slots[shade.slot]));
    const color = colorOf(shade.column);
    view.color = (i) => color(values[i]);
  }
  view.legends.replaceChildren(...(shade ? [legend(shade.column, new Set(), () => {})] : []));
  view.legends.querySelectorAll("button").forEach((button) => { button.disabled = true; }); // here it only explains
  view.panels.forEach(({ dots }) => dots.redraw());
}

async function choose(view, number) {
  if (number < 0) return;
  setOptions({ pick: (await idOf(view, number)), area: null });
  await restore(view);
}

async function idOf(view, number) {
  const block = view.starts.findLastIndex((start) => start <= number);
  return (await idsOf(block))[number - view.starts[block]];
}

let turn = 0;

/** Show what the address says is picked. */
async function restore(view) {
  const mine = ++turn, { options } = readState();
  let picked = null, focus = -1, words = "";
  const wanted = options.get("pick"), area = options.get("area");
  if (wanted) {
    focus = await numberOf(view, wanted);
    picked = focus < 0 ? null : new Set([focus]);
    words = focus < 0 ? `No place is called ${wanted}` : `Picked: ${wanted}`;
  } else if (area) {
    const [name, text = ""] = area.split(":", 2), panel = view.panels.get(name);
    const corners = text.split(";").map((pair) => pair.split(",").map(Number)).filter((p) => p.length === 2 && p.every(Number.isFinite));
    if (panel && corners.length > 2) {
      picked = inside(corners, panel.dots.x, panel.dots.y);
      words = `${picked.size.toLocaleString("en")} places picked`;
    }
  }
  const ids = await Promise.all([...(picked ?? [])].slice(0, SHOWN).map((i) => idOf(view, i)));
  if (mine !== turn || view.gone) return;
  view.panels.forEach(({ dots }) => dots.pick(picked, focus));
  const rest = (picked?.size ?? 0) - ids.length;
  view.picked.replaceChildren(h("h2", { id: "picked" }, words || "Nothing is picked"),
    ids.length ? h("ul", { class: "places alikes" }, ids.map((id) => h("li", {}, h("a", { href: linkTo("place", id) }, thumb(id), h("span", { class: "name" }, id), h("span", { class: "muted" }, "open"))))) : h("p", { class: "muted" }, "Click a dot, or draw a box or a lasso on any of the maps: the same places light up on all."),
    ...(rest > 0 ? [h("p", { class: "muted" }, `and ${rest.toLocaleString("en")} more`)] : []));
  announce(words);
  document.documentElement.dataset.picked = String(picked?.size ?? 0); // for tests
}

/** Find the number of an id: blocks are read until it is there. */
async function numberOf(view, id) {
  for (let block = 0; block < archive.blocks.length; block++) {
    const at = (await idsOf(block)).indexOf(id);
    if (at >= 0) return view.starts[block] + at;
  }
  return -1;
}

function agreement({ sets, agreement: told, neighbours }) {
  const rows = sets.map((set) => h("tr", {}, h("th", { scope: "row" }, set.name), h("td", {}, set.method ?? ""), h("td", {}, set.contract), h("td", {}, set.seasons === "mean" ? "mean over seasons" : set.seasons === "all" ? "all seasons" : `season ${set.seasons}`), h("td", {}, set.count.toLocaleString("en"))));
  const percent = (v) => `${(100 * v).toFixed(1)} %`;
  return h("div", {}, h("div", { class: "scroll" }, h("table", { class: "networks" }, h("thead", {}, h("tr", {}, ["network", "method", "is fed", "of", "places"].map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, rows))),
    told && h("p", { id: "agreement" }, `Of the ${neighbours} nearest places of each place, the first two networks name ${percent(told.overlap)} in common (chance: ${percent(told.chance)}); linear CKA ${told.cka === null ? "unknown" : told.cka.toFixed(3)}.`));
}

function outliers({ sets, neighbours }) {
  return h("section", { class: "modality", "aria-labelledby": "outliers-title" }, h("h2", { id: "outliers-title" }, "Places like no other"),
    h("p", { class: "muted" }, `Those with the largest mean distance (1 − cosine) to their ${neighbours} nearest places: rare landscapes, and broken images.`),
    h("div", { class: "alike" }, sets.map((set) => h("div", { class: "network" }, sets.length > 1 && h("h3", {}, set.name),
      outlierList(set.outliers.filter(({ distance }) => Number.isFinite(distance)).slice(0, 24)))))); // of a single place it is null
}

function outlierList(rows) {
  if (!rows.length) return h("p", { class: "muted" }, "There is no other place to compare with.");
  return h("ol", { class: "places alikes" }, rows.map(({ id, distance }) => h("li", {}, h("a", { href: linkTo("place", id) }, thumb(id), h("span", { class: "name" }, id), h("span", { class: "muted" }, `distance ${distance.toFixed(4)}`)))));
}
