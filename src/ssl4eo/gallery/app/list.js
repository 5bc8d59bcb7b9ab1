// SPDX-License-Identifier: Apache-2.0
// The places in view as a list: what the map shows, for keyboards, screen readers and small screens.

import { columnOf, folderOf, idsOf, positions } from "./data.js";
import { textOf } from "./colors.js";
import { inBox, maskOf } from "./filters.js";
import { h } from "./dom.js";
import { linkTo } from "./state.js";

const STEP = 24;
let turn = 0;

/** Draw the list: words above it, then places of some blocks that pass the filters and lie in bounds, some at a time. */
export async function placeList(element, { words, blocks, bounds, options, shade }) {
  const mine = ++turn;
  const rows = h("ul", { class: "places" });
  const more = h("button", { type: "button", hidden: true }, "More places");
  const source = walk(blocks, bounds, options, shade);
  const fill = async () => {
    more.disabled = true;
    const found = [];
    let last = false;
    while (found.length < STEP && !last) {
      const { value, done } = await source.next();
      if (mine !== turn) return;
      if (done) last = true; else found.push(value);
    }
    rows.append(...found.map(row));
    more.disabled = false;
    more.hidden = last;
    if (!rows.children.length) rows.replaceWith(h("p", { class: "muted" }, "No place in this view passes the filters."));
    else if (document.activeElement === document.body && found.length < rows.children.length) rows.children[rows.children.length - found.length]?.querySelector("a")?.focus();
  };
  more.addEventListener("click", fill);
  element.replaceChildren(h("h2", {}, words), rows, more);
  await fill();
}

/** Go through places one by one; a block is loaded when the one before it is used up. */
async function* walk(blocks, bounds, options, shade) {
  for (const block of blocks) {
    const [ids, place, mask, values] = await Promise.all([idsOf(block), positions(block), maskOf(block, options), shade && columnOf(block, shade.column.key)]);
    for (let i = 0; i < ids.length; i++) {
      if (mask && !mask[i]) continue;
      const nowhere = Number.isNaN(place.lon[i]);
      if (bounds && !nowhere && !inBox(bounds, place.lon[i], place.lat[i])) continue;
      yield { id: ids[i], lon: place.lon[i], lat: place.lat[i], value: values ? textOf(shade.column, values[shade.slot][i]) : "" };
    }
  }
}

function row({ id, lon, lat, value }) {
  const where = Number.isNaN(lon) ? "no coordinates" : placeText(lon, lat);
  return h("li", {}, h("a", { href: linkTo("place", id) }, thumb(id),
    h("span", { class: "name" }, id), h("span", { class: "muted" }, where), value && h("span", { class: "muted" }, value)));
}

/** A small picture of a place, loaded when it comes near the screen. */
export function thumb(id) {
  return h("img", { src: `${folderOf(id)}/thumb.webp`, width: 64, height: 64, loading: "lazy", decoding: "async", alt: "",
    onerror: (event) => event.target.classList.add("broken") });
}

/** Write coordinates. */
export const placeText = (lon, lat) => `${Math.abs(lat).toFixed(3)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(3)}° ${lon < 0 ? "W" : "E"}`;
