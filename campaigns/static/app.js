// Small comforts; every page works without them.
(function () {
  "use strict";
  // Dangerous buttons say what will happen and ask once.
  document.addEventListener("click", function (event) {
    const button = event.target.closest("[data-confirm]");
    if (button && !window.confirm(button.dataset.confirm)) event.preventDefault();
  });
  // htmx must not send its own inline styles past the page's policy.
  document.addEventListener("DOMContentLoaded", function () {
    if (window.htmx) { window.htmx.config.includeIndicatorStyles = false; window.htmx.config.allowEval = false; }
  });
})();
