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
  const select = h("select", { id: "like-date", onchange: () => { setOptions({ date: select.value }); draw(); } }, dates.map((s) => h("option", { value: s }, datesOf(info, s, found))));
  const wanted = readState().options.get("date") ?? String(dates[0]);
  select.value = dates.map(String).includes(wanted) ? wanted : String(dates[0]);
  const fault = h("p", { class: "wrong", role: "alert", id: "like-fault", hidden: true });
  const draw = () => {
    const given = readState().options.get("date");
    fault.hidden = !dates.length || given === null || given === select.value;
    fault.textContent = fault.hidden ? "" : `No network has an embedding of this place in season “${given}”; shown is season ${select.value}.`;
    const season = dates.length ? Number(select.value) : null;
    const rows = found.map((f) => rowOf(f.value, season));
    columns.replaceChildren(...found.map((f, n) => network(n, f, rows, info)));
  };
  draw();
  return h("section", { class: "modality", id: "like", "aria-labelledby": "like-title" },
    h("div", { class: "modalityhead" }, h("h2", { id: "like-title" }, "Places like this one"),
      dates.length > 1 && h("div", { class: "field wide" }, h("label", { for: "like-date" }, "By its image of"), select)),
    h("p", { class: "muted" }, "By cosine similarity of what a network makes of them; other places only. ", h("a", { href: linkTo("likeness", "", { pick: info.id }) }, "Show on the map of likeness")),
    fault, columns);
}

/** What a network says by one date, or by the mean over all where it has no other; undefined where it has neither. */
const rowOf = (value, season) => value?.rows.find((row) => row.season === season || row.season === null);

function network(n, { value, reason }, rows, info) {
  const row = rows[n], others = new Set(rows.filter((_, i) => i !== n).flatMap((other) => other?.like ?? []).map((near) => near.location));
  const body = reason ? h("p", { class: "wrong", role: "alert" }, reason.message)
    : !value.rows.length ? h("p", { class: "muted" }, "This network has not seen this place.")
    : !row ? h("p", { class: "muted" }, `This network has no embedding of this date; of this place it has ${value.rows.map((known) => dateOf(info, known.season, n)).join(", ")}.`)
    : !row.like.length ? h("p", { class: "muted" }, "There is no other place to compare with.")
    : h("ol", { class: "places alikes" }, row.like.map((near) => card(near, others.has(near.location))));
  const isMean = row?.season === null && rows.some((other) => other && other.season !== null); // beside networks that go by a date
  return h("div", { class: "network" }, h("h3", {}, archive.likeness[n].name), isMean && h("p", { class: "muted" }, "By the mean over seasons."), body,
    value && value.own.length > 1 && ownDates(value, info, n));
}

function card({ location, season, similarity }, both) {
  return h("li", {}, h("a", { href: linkTo("place", location, season === null ? {} : { date: season }) }, thumb(location),
    h("span", { class: "name" }, location), h("span", { class: "muted" }, `similarity ${similarity.toFixed(4)}`),
    h("span", { class: "muted" }, season !== null && `season ${season}`, both && h("span", { class: "flag" }, "both"))));
}

function ownDates({ rows, own }, info, n) {
  const names = rows.map((row) => dateOf(info, row.season, n));
  return h("details", {}, h("summary", {}, "How alike its own dates are"),
    h("div", { class: "scroll" }, h("table", { id: `own-${n}` },
      h("thead", {}, h("tr", {}, h("td", {}), names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, own.map((row, i) => h("tr", {}, h("th", { scope: "row" }, names[i]), row.map((v) => h("td", {}, v.toFixed(4)))))))));
}

/** The date of the image that a network saw: each sensor flew on days of its own. */
function dateOf(info, season, n) {
  if (season === null) return "mean over seasons";
  const seen = info.images[archive.likeness[n].modality]?.[season];
  return seen?.time ? seen.time.slice(0, 10) : `season ${season}`;
}

/** The dates of a season, of all networks that saw it. */
function datesOf(info, season, found) {
  const seen = found.flatMap(({ value }, n) => (value?.rows.some((row) => row.season === season) ? [dateOf(info, season, n)] : []));
  return [...new Set(seen)].join(" / ");
}
