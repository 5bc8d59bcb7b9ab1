// SPDX-License-Identifier: Apache-2.0
// The page of one location: seasons by modalities, composites to choose, histograms, contract, products, pixels to take away.

import { archive, folderOf, json } from "./data.js";
import { announce, h } from "./dom.js";
import { histograms } from "./histogram.js";
import { placeText } from "./list.js";
import { linkTo, mapLink, readState, setOptions } from "./state.js";

/** Sections that other modules add below: functions from { info, folder } to an element, or to a promise of one. */
export const moreSections = [];

/** Draw the page of a location; gives what takes it away. */
export function showPlace(main, id) {
  const life = { gone: false, end: new AbortController() };
  main.replaceChildren(h("p", { class: "wait" }, "Loading…"));
  draw(main, id, life).catch((error) => {
    if (!life.gone) main.replaceChildren(h("h1", { tabindex: -1 }, `Location ${id}`), h("p", { class: "wrong", role: "alert" }, error.message), h("p", {}, h("a", { href: mapLink() }, "Back to the map")));
  });
  return () => { life.gone = true; life.end.abort(); };
}

async function draw(main, id, life) {
  const folder = folderOf(id), info = await json(`${folder}/info.json`);
  if (life.gone) return;
  const more = h("div", {});
  main.replaceChildren(h("article", { class: "place" },
    head(info, life.end.signal),
    info.wrong && h("div", { class: "wrong", role: "alert" }, info.wrong.split("\n").map((line) => h("p", {}, line))),
    faultsOfLink(life.end.signal),
    stretchChooser(),
    archive.modalities.map((modality) => modalitySection(modality, info, folder, life.end.signal)),
    facts(info), more));
  document.title = `${id} · ${archive.title}`;
  document.documentElement.dataset.ready = `place ${id}`;
  announce(`Location ${id}`);
  for (const make of moreSections) {
    const section = await make({ info, folder });
    if (section && !life.gone) more.append(section);
  }
}

function head(info, signal) {
  const onMap = info.lon !== null && h("a", { href: linkTo("map", "", { at: `${info.lat.toFixed(4)},${info.lon.toFixed(4)},10` }), class: "button" }, "Show on the map");
  const step = (id, label) => {
    if (id === null) return null;
    const link = h("a", { href: linkTo("place", id, keptOptions()), class: "button" }, label);
    addEventListener("optionsset", () => { link.href = linkTo("place", id, keptOptions()); }, { signal });
    return link;
  };
  return h("header", { class: "placehead" },
    h("h1", { tabindex: -1 }, `Location ${info.id}`),
    h("p", { class: "muted" }, info.lon === null ? "no coordinates known" : placeText(info.lon, info.lat), archive.synthetic && " · synthetic: no satellite saw these pixels"),
    h("nav", { "aria-label": "Locations" }, h("a", { href: mapLink(), class: "button" }, "Back to the map"), onMap, step(info.previous, "Previous"), step(info.next, "Next")));
}

/** Choices that go along to the next location. */
const keptOptions = () => Object.fromEntries([...readState().options].filter(([name]) => name === "stretch" || name.startsWith("c-")));

function chosenStretch() {
  const wanted = readState().options.get("stretch");
  return archive.stretches.some((row) => row.name === wanted) ? wanted : archive.stretches[0].name;
}

function chosenComposite(modality) {
  const wanted = readState().options.get(`c-${modality.name}`);
  return modality.composites.find((row) => row.name === wanted) ?? modality.composites[0];
}

/** Tell which choices of the address there are not here, as long as they stand in it. */
function faultsOfLink(signal) {
  const element = h("div", { class: "wrong", role: "alert", id: "faults", hidden: true });
  const tell = () => {
    const found = [...readState().options].map(([name, value]) => choiceFault(name, value)).filter(Boolean);
    element.hidden = !found.length;
    element.replaceChildren(...found.map((text) => h("p", {}, text)));
  };
  addEventListener("optionsset", tell, { signal });
  tell();
  return element;
}

function choiceFault(name, value) {
  if (name === "stretch") return value !== chosenStretch() && `There is no brightness “${value}”; shown is ${chosenStretch()}.`;
  if (!name.startsWith("c-")) return "";
  const modality = archive.modalities.find((row) => row.name === name.slice(2));
  if (!modality) return `There is no modality ${name.slice(2)}.`;
  const chosen = chosenComposite(modality);
  return value !== chosen.name && `${modality.title} has no composite “${value}”; shown is ${chosen.title}.`;
}

function stretchChooser() {
  const select = h("select", { id: "stretch", onchange: () => { setOptions({ stretch: select.value }); dispatchEvent(new Event("picturechange")); } },
    archive.stretches.map((row) => h("option", { value: row.name }, `${row.name}: ${row.title}`)));
  select.value = chosenStretch();
  return h("div", { class: "field wide" }, h("label", { for: "stretch" }, "Brightness"), select);
}

function modalitySection(modality, info, folder, signal) {
  const rows = info.images[modality.name], id = `composite-${modality.name}`;
  const select = h("select", { id, onchange: () => { setOptions({ [`c-${modality.name}`]: select.value }); update(); announce(`${modality.title}: ${chosenComposite(modality).title}`); } },
    modality.composites.map((row) => h("option", { value: row.name }, row.title)));
  select.value = chosenComposite(modality).name;
  const pictures = rows.map((row, season) => picture(modality, row, season, folder));
  const note = h("p", { class: "muted", id: `note-${modality.name}` });
  const update = () => { pictures.forEach((each) => each.show()); tellBrightness(note, modality, folder); };
  addEventListener("picturechange", update, { signal });
  update();
  return h("section", { class: "modality", "aria-labelledby": `title-${modality.name}` },
    h("div", { class: "modalityhead" }, h("h2", { id: `title-${modality.name}` }, modality.title),
      h("div", { class: "field wide" }, h("label", { for: id }, "Composite"), select)),
    note, h("div", { class: "seasons" }, pictures.map((each) => each.element)),
    histogramSection(modality, rows, folder),
    contracts(modality, rows));
}

/** Say what the choice of brightness does to the pictures of a modality: nothing to an index, and over how many seasons it was shared. */
async function tellBrightness(note, modality, folder) {
  const composite = chosenComposite(modality), isShared = composite.shared && chosenStretch() === "shared";
  note.textContent = composite.note;
  if (!isShared) return;
  const words = await json(`${folder}/shared.json`).then((told) => brightnessText(told[modality.name][composite.name]), (error) => error.message);
  if (chosenComposite(modality) === composite && chosenStretch() === "shared") note.textContent = words;
}

function brightnessText(count) {
  if (!count) return "";
  const all = archive.seasons;
  return count < all ? `Brightness shared over ${count} of ${all} seasons: the others cannot be read.` : `Brightness shared over ${all} season${all > 1 ? "s" : ""}.`;
}

function seasonName(row, season) {
  return row.time ? row.time.slice(0, 10) : `season ${season}`;
}

function picture(modality, row, season, folder) {
  const name = seasonName(row, season);
  const image = h("img", { width: archive.shape[1], height: archive.shape[0], loading: "lazy", decoding: "async" });
  const fault = h("p", { class: "wrong", hidden: true });
  image.addEventListener("load", () => { image.hidden = false; fault.hidden = true; });
  image.addEventListener("error", async () => {
    image.hidden = true;
    fault.hidden = false;
    fault.textContent = await json(image.getAttribute("src")).then(() => "", (error) => error.message);
  });
  const show = () => {
    const composite = chosenComposite(modality);
    image.hidden = false;
    image.alt = `${modality.title}, ${name}, ${composite.title}`;
    image.setAttribute("src", `${folder}/${modality.name}-${season}-${composite.slug}-${chosenStretch()}.webp`);
  };
  const element = h("figure", {}, h("div", { class: "frame" }, image, fault),
    h("figcaption", {}, h("strong", {}, name), row.time && ` ${row.time.slice(11, 16)} UTC`, !row.valid && h("span", { class: "flag" }, "not valid"),
      row.product && h("span", { class: "product" }, row.product), downloads(modality, season, folder, row)));
  return { element, show };
}

function downloads(modality, season, folder) {
  if (!archive.pixels) return null;
  const stem = `${modality.name}-${season}`, id = folder.split("/").pop();
  const link = (file, label, words) => h("a", { href: `${folder}/${file}`, download: `${decodeURIComponent(id)}-${file}`, "aria-label": words }, label);
  return h("span", { class: "downloads" },
    Object.keys(modality.groups).map((r) => link(`${stem}-${r}m.tif`, `TIFF ${r} m`, `GeoTIFF of ${modality.name} season ${season}, ${r} m bands`)),
    link(`${stem}.npz`, "NumPy", `NumPy file of ${modality.name} season ${season}`));
}

function histogramSection(modality, rows, folder) {
  const content = h("div", {});
  const details = h("details", { class: "histograms" }, h("summary", {}, "Histograms of all bands"), content);
  details.addEventListener("toggle", async () => {
    if (!details.open || content.children.length) return;
    try {
      const all = await json(`${folder}/histograms.json`);
      content.replaceChildren(...(all.wrong[modality.name] ?? []).map((text) => h("p", { class: "wrong", role: "alert" }, text)),
        histograms(all[modality.name], modality.bands, rows.map(seasonName)),
        h("p", { class: "muted" }, "From percentile 0.1 to 99.9 of all seasons; values outside are counted in the bins at the ends."));
    } catch (error) {
      content.replaceChildren(h("p", { class: "wrong" }, error.message));
    }
  });
  return details;
}

function contracts(modality, rows) {
  const distinct = [...new Set(rows.map((row) => row.contract))];
  const placed = rows.map((row, i) => `${seasonName(row, i)}: ${row.crs || "no reference system"}${row.transform ? `, [${row.transform.join(", ")}]` : ""}${row.baseline === null ? "" : `, baseline ${row.baseline}`}`);
  return h("details", {}, h("summary", {}, "Contract and place"), distinct.map((text) => h("p", {}, h("code", {}, text))), h("ul", { class: "plain" }, placed.map((text) => h("li", {}, text))));
}

function facts(info) {
  const labels = Object.entries(info.labels);
  if (!labels.length) return null;
  return h("section", { "aria-labelledby": "labels-title" }, h("h2", { id: "labels-title" }, "Labels"),
    h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, labels.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))))));
}
