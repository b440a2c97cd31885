// Small comforts; every page works without them.
(function () {
  "use strict";
  // Dangerous buttons say what will happen and ask once.
  document.addEventListener("click", function (event) {
    const button = event.target.closest("[data-confirm]");
    if (!button) return;
    // How many people it goes to is counted after the page has come; until then the sentence without a number holds.
    const counted = document.getElementById("would-be-mailed");
    const words = counted && button.dataset.confirmCounted;
    const sentence = words ? words.replace("{people}", counted.dataset.words) : button.dataset.confirm;
    if (!window.confirm(sentence)) event.preventDefault();
  });
  // A list beside a search box of its own narrows while one types; what is typed in its rows stays.
  document.addEventListener("input", function (event) {
    if (!event.target.matches("[data-narrows]")) return;
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    document.querySelectorAll(event.target.dataset.narrows).forEach(function (row) {
      const kept = row.querySelector("input") && row.querySelector("input").value !== "";
      row.hidden = !kept && !words.every(function (word) { return row.dataset.words.toLowerCase().includes(word); });
    });
  });
  document.addEventListener("submit", function (event) {
    const box = event.target.querySelector("[data-narrows]");
    const unsaved = box && Array.from(document.querySelectorAll(box.dataset.narrows + " input")).some(function (input) {
      return input.value !== input.defaultValue;
    });
    if (unsaved && !window.confirm("Turns that are not saved yet are lost by a search. Go on?")) event.preventDefault();
  });
  // The answer to a form that was refused begins at the field at fault, or else at the sentence that says what is wrong.
  document.addEventListener("DOMContentLoaded", function () {
    const wrong = document.querySelector('main [aria-invalid="true"]') || document.querySelector("main[data-refused] .alert-danger");
    if (!wrong) return;
    for (let fold = wrong.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (wrong.matches(".alert")) wrong.tabIndex = -1;
    wrong.focus({ preventScroll: true });
    wrong.scrollIntoView({ block: "center", behavior: "instant" });
  });
  // What may be a word is something before it is at least something.
  document.addEventListener("input", function (event) {
    if (!event.target.matches(".rule-condition")) return;
    const row = event.target.closest(".rule-row"), needs = event.target.selectedOptions[0].dataset.needs || "";
    const value = row.querySelector(".needs-value");
    if (value) value.setAttribute("list", event.target.selectedOptions[0].dataset.values || "rule-values");
    if (value && !value.value) row.querySelector(".needs-comparison").value = needs.split(" ").includes("word") ? "=" : ">=";
  });
  // The number beside a rule is of the rule before, until the rule that is being typed has been counted.
  document.addEventListener("input", function (event) {
    const rows = event.target.closest(".rules");
    if (rows) rows.parentElement.querySelector(".rules-count").classList.add("is-old");
  });
  document.addEventListener("htmx:afterSwap", function (event) {
    event.target.classList.remove("is-old");
  });
  // A campaign that moved on is shown anew, but not under somebody's hands: then the switches alone are the new ones.
  let typed = false;
  document.addEventListener("input", function () { typed = true; });
  document.addEventListener("campaign-moved", function () {
    // The answer to a form that was refused holds what was typed, and would be asked for by that form again.
    const refused = document.querySelector(".alert-danger");
    if (!typed && !refused && !document.activeElement.matches("input, select, textarea")) window.location.reload();
  });
  // A list that is looked for anew stays as it is under a pointer or the keyboard, whose row would move or be gone.
  function hold(event) {
    if (event.target.id === "stream" && event.target.querySelector("tbody:hover, tbody :focus-visible")) event.preventDefault();
  }
  document.addEventListener("htmx:beforeRequest", hold);
  document.addEventListener("htmx:beforeSwap", hold);
  // Tabs that do not fit beside each other begin with the chosen one in sight, and fade where there are more of them.
  function fade(tabs) {
    tabs.classList.toggle("more-before", tabs.scrollLeft > 1);
    tabs.classList.toggle("more-after", tabs.scrollLeft + tabs.clientWidth < tabs.scrollWidth - 1);
  }
  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll(".nav-tabs").forEach(function (tabs) {
      const chosen = tabs.querySelector(".active"), seen = tabs.getBoundingClientRect();
      if (chosen) {
        const place = chosen.getBoundingClientRect();
        tabs.scrollLeft += place.left + place.width / 2 - seen.left - seen.width / 2;
      }
      tabs.addEventListener("scroll", function () { fade(tabs); }, { passive: true });
      window.addEventListener("resize", function () { fade(tabs); });
      fade(tabs);
    });
  });
  // htmx must not send its own inline styles past the page's policy.
  document.addEventListener("DOMContentLoaded", function () {
    if (window.htmx) { window.htmx.config.includeIndicatorStyles = false; window.htmx.config.allowEval = false; }
  });
})();
