// Sets the colour theme before the first paint: the viewer's own choice, else what the system prefers.
(function () {
  "use strict";
  const KEY = "latebind-theme";
  const stored = function () { try { return localStorage.getItem(KEY); } catch (error) { return null; } };
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = function () {
    document.documentElement.setAttribute("data-bs-theme", stored() || (preferred.matches ? "dark" : "light"));
  };
  apply();
  preferred.addEventListener("change", apply);
  document.addEventListener("click", function (event) {
    if (!event.target.closest("[data-theme-toggle]")) return;
    const next = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEY, next); } catch (error) { /* The choice then lasts for this page only. */ }
    document.documentElement.setAttribute("data-bs-theme", next);
  });
})();
