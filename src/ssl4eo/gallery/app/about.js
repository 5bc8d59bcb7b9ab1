// SPDX-License-Identifier: Apache-2.0
// The page about the archive: where it comes from, what its modalities hold, what looks wrong.

import { archive } from "./data.js";
import { h } from "./dom.js";

export function showAbout(main) {
  const rows = { archive: archive.name, provenance: archive.title, licence: archive.licence, ...archive.details, locations: archive.count.toLocaleString("en"), seasons: archive.seasons, "patch [px]": archive.shape.join(" × "), "left out when packed": archive.skipped || null, ...archive.facts };
  main.replaceChildren(h("article", { class: "prose" },
    h("h1", { tabindex: -1 }, "About this archive"),
    archive.synthetic && h("p", { class: "flag" }, "Synthetic: no satellite saw these pixels."),
    archive.warnings.map((text) => h("p", { class: "wrong" }, text)),
    Object.entries(archive.left_out).map(([name, reason]) => h("p", { class: "wrong" }, `The map leaves out column ${name}: ${reason}.`)),
    table(rows),
    archive.modalities.map((m) => h("section", {}, h("h2", {}, m.title),
      table({ name: m.name, unit: m.unit, type: m.dtype, "8-bit rule": m.scaling === "none" ? null : m.scaling, ...Object.fromEntries(Object.entries(m.groups).map(([r, bands]) => [`bands at ${r} m`, bands.join(" ")])) }))),
    h("section", {}, h("h2", {}, "Brightness of pictures"), h("ul", {}, archive.stretches.map((row) => h("li", {}, `${row.name}: ${row.title}`))), notes()),
    h("p", { class: "muted" }, "Land: Natural Earth 1:50 million, public domain. Map: Leaflet, BSD 2-Clause. ", h("a", { href: "app/vendor/leaflet/LICENSE" }, "Its licence"))));
  document.documentElement.dataset.ready = "about";
}

/** What is drawn in a way of its own, each once. */
function notes() {
  const rows = archive.modalities.flatMap((m) => m.composites).filter((c) => c.note);
  return [...new Map(rows.map((c) => [c.name, c])).values()].map((c) => h("p", {}, h("strong", {}, c.title), `: ${c.note}`));
}

function table(rows) {
  return h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, Object.entries(rows).filter(([, value]) => value !== null && value !== "").map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, String(value)))))));
}
