// SPDX-License-Identifier: Apache-2.0
// The panel beside the map: search, colors, filters. Every control writes its option into the address.

import { archive, columns, findIds } from "./data.js";
import { dateText, readColor, textOf } from "./colors.js";
import { faultsOf, FILTERS, isTruth, isWords, numberOf, ofGroup, partsOf, readBox, readModality, readNumbers } from "./filters.js";
import { announce, h, settled } from "./dom.js";
import { linkTo, readState, setOptions } from "./state.js";

/** Draw the panel; `changed` is called when a filter or the color changes, `go(lat, lon, zoom)` moves the map, `signal` ends it. */
export function panel(element, { changed, go, bounds, signal }) {
  let tell = () => {};
  addEventListener("optionsset", () => tell(), { signal });
  const draw = () => {
    const { options } = readState();
    const faults = h("div", { class: "wrong", role: "alert", hidden: true });
    tell = () => {
      const found = faultsOf(readState().options);
      faults.hidden = !found.length;
      faults.replaceChildren(...(found.length ? [...found, "What cannot be read is left out."].map((text) => h("p", {}, text)) : []));
    };
    const set = (changes) => { setOptions(changes); changed(); };
    const count = FILTERS.filter((name) => options.get(name)).length;
    const open = element.querySelector("details")?.open ?? matchMedia("(min-width: 60rem)").matches;
    element.replaceChildren(
      search(go),
      faults,
      colorBy(options, set),
      h("details", { class: "filters", open }, h("summary", {}, "Filters", h("span", { class: "count" }, count ? ` (${count} set)` : "")),
        h("form", { onsubmit: (event) => event.preventDefault() },
          modality(options, set), dates(options, set), cloud(options, set), valid(options, set), where(options, set), box(options, set, bounds),
          h("button", { type: "button", class: "quiet", id: "clear", onclick: () => { set({ ...Object.fromEntries(FILTERS.map((name) => [name, null])), ...unread() }); draw(); announce("All filters are cleared"); } }, "Clear filters"))));
    tell();
  };
  draw();
  addEventListener("optionschange", changed, { signal });
}

/** Options that are no filters and cannot be read: they go with the filters. */
function unread() {
  const { options } = readState();
  return { ...(readColor(options.get("color")) ? {} : { color: null }), ...(readNumbers(options.get("at"), 3) ? {} : { at: null }) };
}

function field(label, id, control, note) {
  return h("div", { class: "field" }, h("label", { for: id }, label), control, note && h("p", { class: "muted", id: `${id}-note` }, note));
}

function search(go) {
  const results = h("ul", { class: "results", id: "results" });
  let asked = 0; // answers may come in another order than questions: only the last one's is shown
  const find = async (text) => {
    const mine = ++asked, wanted = text.trim(), point = /^(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)$/.exec(wanted);
    if (!wanted) { results.replaceChildren(); return []; }
    if (point) {
      const [lat, lon] = [Number(point[1]), Number(point[2])];
      results.replaceChildren(h("li", {}, h("button", { type: "button", class: "quiet", onclick: () => go(lat, lon, 9) }, `Go to ${lat}, ${lon}`)));
      return [];
    }
    try {
      const ids = await findIds(wanted, 8);
      if (mine !== asked) return ids;
      results.replaceChildren(...(ids.length ? ids.map((id) => h("li", {}, h("a", { href: linkTo("place", id) }, id))) : [h("li", { class: "muted" }, `No id begins with ${wanted}`)]));
      announce(`${ids.length === 8 ? "8 or more" : ids.length} ids found`);
      return ids;
    } catch (error) {
      if (mine === asked) results.replaceChildren(h("li", { class: "wrong" }, error.message));
      return [];
    }
  };
  const input = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "0000017 or 48.1, 11.6", "aria-controls": "results", oninput: settled((event) => find(event.target.value), 150) });
  const submit = async (event) => {
    event.preventDefault();
    const ids = await find(input.value);
    if (ids.includes(input.value.trim()) || ids.length === 1) location.hash = linkTo("place", ids.length === 1 ? ids[0] : input.value.trim());
    else results.querySelector("button")?.click();
  };
  return h("form", { role: "search", onsubmit: submit }, field("Find an id or latitude, longitude", "search", input), results);
}

function colorBy(options, set) {
  const select = h("select", { id: "color", onchange: () => set({ color: select.value || null, hide: null }) }, h("option", { value: "" }, "one color"));
  const groups = { date: "Dates", cloud: "Cloud", split: "Split", valid: "Validity", label: "Labels" };
  for (const [group, title] of Object.entries(groups)) {
    const rows = archive.columns.filter((c) => c.group === group && c.kind !== "text");
    if (!rows.length) continue;
    select.append(h("optgroup", { label: title }, rows.flatMap((c) => c.slots.map((slot, i) => h("option", { value: c.slots.length > 1 ? `${c.key}:${i}` : c.key }, slot ? `${c.title}, ${slot}` : c.title)))));
  }
  const shade = readColor(options.get("color"));
  select.value = !shade ? "" : shade.column.slots.length > 1 ? `${shade.column.key}:${shade.slot}` : shade.column.key;
  return field("Color by", "color", select);
}

function modality(options, set) {
  if (archive.modalities.length < 2) return null;
  const select = h("select", { id: "modality", onchange: () => set({ mod: select.value || null }) },
    h("option", { value: "" }, "any modality"), archive.modalities.map((m) => h("option", { value: m.name }, m.title)));
  select.value = readModality(options.get("mod"));
  return field("Dates, cloud and validity of", "modality", select);
}

function dates(options, set) {
  const known = ofGroup("date").filter((c) => c.low !== null);
  if (!known.length) return null;
  const low = dateText(Math.min(...known.map((c) => c.low))), high = dateText(Math.max(...known.map((c) => c.high)));
  const input = (name, label) => h("input", { type: "date", id: name, "aria-label": label, min: low, max: high, value: options.get(name) ?? "", onchange: (event) => set({ [name]: event.target.value || null }) });
  return h("fieldset", {}, h("legend", {}, "An image between"), h("div", { class: "pair" }, input("from", "from date"), input("to", "to date")), h("p", { class: "muted" }, `${low} to ${high}`));
}

function cloud(options, set) {
  const known = ofGroup("cloud").filter((c) => c.kind === "number" && c.low !== null);
  if (!known.length) return null;
  const high = Math.max(...known.map((c) => c.high)), given = numberOf(options.get("cloud")), value = Number.isFinite(given) ? given : "";
  const words = h("output", { for: "cloud" }, value === "" ? "any" : `at most ${value}`);
  const input = h("input", { type: "range", id: "cloud", min: 0, max: high, step: high <= 1 ? 0.01 : high / 100, value: value === "" ? high : value,
    oninput: () => { words.textContent = Number(input.value) >= high ? "any" : `at most ${Number(Number(input.value).toPrecision(3))}`; },
    onchange: () => set({ cloud: Number(input.value) >= high ? null : String(Number(Number(input.value).toPrecision(3))) }) });
  return h("div", { class: "field" }, h("label", { for: "cloud" }, "Cloud share ", words), input);
}

function valid(options, set) {
  if (!ofGroup("valid").length) return null;
  const input = h("input", { type: "checkbox", id: "valid", checked: options.get("valid") === "1", onchange: () => set({ valid: input.checked ? "1" : null }) });
  return h("div", { class: "field check" }, input, h("label", { for: "valid" }, "all images valid"));
}

function where(options, set) {
  const rows = archive.columns;
  const { column: chosen, words: [low = "", high = ""] } = partsOf(options.get("where"));
  const select = h("select", { id: "where" }, h("option", { value: "" }, "no column"), rows.map((c) => h("option", { value: c.key }, c.title)));
  select.value = chosen?.key ?? "";
  const ends = h("div", { class: "pair" });
  const draw = (first, second) => {
    const column = columns.get(select.value);
    if (!column) { ends.replaceChildren(); return; }
    if (isTruth(column)) { ends.replaceChildren(truth(first === second ? first : "")); return; }
    const text = isWords(column);
    const type = column.kind === "date" ? "date" : text ? "text" : "number";
    const input = (label, value, hint) => h("input", { type, step: "any", "aria-label": `${column.title} ${label}`, value, placeholder: hint, list: text ? "labels" : null, onchange: write });
    const span = (end) => (column[end] === null ? "" : textOf(column, column[end]));
    ends.replaceChildren(...(text ? [input("contains", first, "contains"), h("datalist", { id: "labels" }, column.labels.slice(0, 200).map((label) => h("option", { value: label })))] : [input("at least", first, span("low")), input("at most", second, span("high"))]));
  };
  const truth = (value) => {
    const choice = h("select", { "aria-label": `${columns.get(select.value).title} is`, onchange: write }, [["", "true or false"], ["1", "true"], ["0", "false"]].map(([each, label]) => h("option", { value: each }, label)));
    choice.value = value;
    return choice;
  };
  const write = () => {
    const choice = ends.querySelector("select");
    const words = choice ? [choice.value, choice.value] : [...ends.querySelectorAll("input")].map((input) => input.value);
    set({ where: select.value && words.some(Boolean) ? [select.value, ...words].join("~") : null });
  };
  select.addEventListener("change", () => { draw("", ""); write(); });
  draw(low, high);
  return h("div", { class: "field" }, h("label", { for: "where" }, "Column"), select, ends);
}

function box(options, set, bounds) {
  const input = h("input", { id: "box", type: "text", autocomplete: "off", placeholder: "west, south, east, north", value: options.get("in") ?? "", "aria-describedby": "box-note" });
  const write = (text) => {
    const wrong = text !== "" && !readBox(text);
    input.setAttribute("aria-invalid", String(wrong));
    if (!wrong) set({ in: text === "" ? null : readBox(text).join(",") });
  };
  input.addEventListener("change", () => write(input.value.trim()));
  const here = h("button", { type: "button", class: "quiet", onclick: () => { input.value = bounds().map((v) => v.toFixed(2)).join(","); write(input.value); } }, "Use this view");
  return h("div", { class: "field" }, h("label", { for: "box" }, "Bounding box [deg]"), input, h("p", { class: "muted", id: "box-note" }, here));
}
