// SPDX-License-Identifier: Apache-2.0
// Boot and routing: the page that the address names is drawn into <main>; a table of pages, each a function that draws.

import { showAbout } from "./about.js";
import { likeSection } from "./alike.js";
import { start } from "./data.js";
import { announce, h } from "./dom.js";
import { showLikeness } from "./likeness.js";
import { showMap } from "./map.js";
import { moreSections, showPlace } from "./place.js";
import { mapLink, readState } from "./state.js";

/** Pages by the first word of the address: { title (null: not in the menu), show(main, argument), has(archive) }. */
export const pages = {
  map: { title: "Map", show: showMap },
  place: { title: null, show: showPlace },
  likeness: { title: "Likeness", show: showLikeness, has: (archive) => archive.likeness.length > 0 },
  about: { title: "About", show: showAbout },
};

moreSections.push(likeSection);

const main = document.getElementById("main");
let leave = null, shown = "";

function route(moved) {
  const { page, argument } = readState();
  const now = `${page}/${argument}`;
  if (page === "map" && shown === now && moved && location.hash === mapLink()) return;
  shown = now;
  leave?.();
  const found = Object.hasOwn(pages, page) ? pages[page] : null;
  document.documentElement.dataset.ready = "";
  document.title = `${found?.title ?? "Gallery"} · ${document.getElementById("brand").textContent}`;
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.body.dataset.page = page;
  leave = found ? found.show(main, argument) ?? null : unknown(page);
  if (moved) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
}

function unknown(page) {
  main.replaceChildren(h("h1", {}, "No such page"), h("p", {}, `The gallery has no page “${page}”. `, h("a", { href: "#/map" }, "To the map")));
  return null;
}

async function boot() {
  document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  const theme = document.getElementById("theme");
  const named = () => { theme.textContent = document.documentElement.dataset.theme === "dark" ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${theme.textContent.toLowerCase()} colors`); };
  theme.addEventListener("click", () => window.toggleTheme());
  addEventListener("themechange", named);
  named();
  let archive;
  try {
    archive = await start();
  } catch (error) {
    main.replaceChildren(h("h1", {}, "This archive cannot be shown"), h("p", { class: "wrong", role: "alert" }, error.message));
    return;
  }
  document.getElementById("brand").textContent = archive.title || archive.name;
  document.getElementById("pages").append(...Object.entries(pages).filter(([, p]) => p.title && (p.has?.(archive) ?? true)).map(([name, p]) => h("li", {}, h("a", { href: `#/${name}`, "data-page": name }, p.title))));
  if (archive.synthetic) {
    const banner = document.getElementById("banner");
    banner.textContent = "Synthetic: no satellite saw these pixels.";
    banner.hidden = false;
  }
  addEventListener("hashchange", () => route(true));
  route(false);
  announce(`${archive.count.toLocaleString("en")} places`);
}

boot();
