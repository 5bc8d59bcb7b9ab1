// SPDX-License-Identifier: Apache-2.0
// On the page of a location: what each network thinks is like it, and how alike its own dates are.

import { archive, json } from "./data.js";
import { h } from "./dom.js";
import { thumb } from "./list.js";
import { linkTo, readState, setOptions } from "./state.js";

/** Make the section of a location, null where the gallery has no embeddings. */
export async function likeSection({ info, folder }) {
  if (!archive.likeness.length) return null;
  const found = await Promise.allSettled(archive.likeness.map((_, n) => json(`${folder}/like-${n}.json`)));
  const columns = h("div", { class: "alike" });
  const dates = [...new Set(found.flatMap((f) => (f.value?.rows ?? []).map((row) => row.season)).filter((s) => s !== null))].sort((a, b) => a - b);
  const select = h("select", { id: "like-date", onchange: () => { setOptions({ date: select.value }); draw(); } }, dates.map((s) => h("option", { value: s }, dateOf(info, s))));
  const wanted = Number(readState().options.get("date") ?? dates[0]);
  select.value = String(dates.includes(wanted) ? wanted : dates[0]);
  const draw = () => {
    const season = dates.length ? Number(select.value) : null;
    const lists = found.map((f) => (f.value ? (f.value.rows.find((row) => row.season === season) ?? f.value.rows[0])?.like ?? [] : []));
    columns.replaceChildren(...found.map((f, n) => network(n, f, lists, info)));
  };
  draw();
  return h("section", { class: "modality", id: "like", "aria-labelledby": "like-title" },
    h("div", { class: "modalityhead" }, h("h2", { id: "like-title" }, "Places like this one"),
      dates.length > 1 && h("div", { class: "field wide" }, h("label", { for: "like-date" }, "By its image of"), select)),
    h("p", { class: "muted" }, "By cosine similarity of what a network makes of them; other places only. ", h("a", { href: linkTo("likeness", "", { pick: info.id }) }, "Show on the map of likeness")),
    columns);
}

function network(n, { value, reason }, lists, info) {
  const set = archive.likeness[n];
  const others = new Set(lists.filter((_, i) => i !== n).flat().map((row) => row.location));
  const body = reason ? h("p", { class: "wrong", role: "alert" }, reason.message)
    : !lists[n].length ? h("p", { class: "muted" }, "This network has not seen this place.")
    : h("ol", { class: "places alikes" }, lists[n].map((row) => card(row, others.has(row.location))));
  return h("div", { class: "network" }, archive.likeness.length > 1 && h("h3", {}, set.name), body, value && value.own.length > 1 && ownDates(value, info, n));
}

function card({ location, season, similarity }, both) {
  return h("li", {}, h("a", { href: linkTo("place", location, season === null ? {} : { date: season }) }, thumb(location),
    h("span", { class: "name" }, location), h("span", { class: "muted" }, `similarity ${similarity.toFixed(4)}`),
    h("span", { class: "muted" }, season !== null && `season ${season + 1}`, both && h("span", { class: "flag" }, "both"))));
}

function ownDates({ rows, own }, info, n) {
  const names = rows.map((row) => dateOf(info, row.season));
  return h("details", {}, h("summary", {}, "How alike its own dates are"),
    h("div", { class: "scroll" }, h("table", { id: `own-${n}` },
      h("thead", {}, h("tr", {}, h("td", {}), names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, own.map((row, i) => h("tr", {}, h("th", { scope: "row" }, names[i]), row.map((v) => h("td", {}, v.toFixed(4)))))))));
}

function dateOf(info, season) {
  if (season === null) return "mean over seasons";
  const first = Object.values(info.images)[0]?.[season];
  return first?.time ? first.time.slice(0, 10) : `season ${season + 1}`;
}
