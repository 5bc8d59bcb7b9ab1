// SPDX-License-Identifier: Apache-2.0
// Before anything is drawn: the theme that was chosen here before, else that of the system.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("ssl4eo-theme"); } catch { /* storage may be forbidden */ }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const settle = () => { document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light"); };
  settle();
  dark.addEventListener("change", () => { settle(); dispatchEvent(new Event("themechange")); });
  window.toggleTheme = () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("ssl4eo-theme", chosen); } catch { /* it holds for this page */ }
    settle();
    dispatchEvent(new Event("themechange"));
  };
})();
