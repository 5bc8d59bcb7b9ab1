// SPDX-License-Identifier: Apache-2.0
// The state of a page is its address after the #: #/page/argument?name=value. Links can be shared and reloaded.

/** Give the page, its argument and its options as the address tells. */
export function readState(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "map", ...rest] = path.split("/").map(decoded);
  return { page: page || "map", argument: rest.join("/"), options: new URLSearchParams(query) };
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Make the address of a page. */
export function linkTo(page, argument = "", options = {}) {
  const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value !== null && value !== ""));
  const tail = query.size ? `?${query}` : "";
  return `#/${page}${argument ? `/${encodeURIComponent(argument)}` : ""}${tail}`;
}

/** Change options of this page's address without a new entry in the history; null takes one away. */
export function setOptions(changes) {
  const { page, argument, options } = readState();
  const merged = { ...Object.fromEntries(options), ...changes };
  history.replaceState(null, "", linkTo(page, argument, merged));
  if (page === "map") lastMap = location.hash;
  dispatchEvent(new Event("optionsset"));
}

let lastMap = "#/map";

/** The map as it was last seen. */
export const mapLink = () => lastMap;

/** Note the address of the map, so that other pages lead back to it. */
export function rememberMap() { lastMap = location.hash || "#/map"; }
