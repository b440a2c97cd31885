// Fills <div data-latebind-slot="hero" data-campaign="7">what stands there anyway</div> with the decision of now.
// Attributes of this script: data-key (the public site key) and data-person (an identity token, or nothing).
// It stores nothing and talks to nobody but the server it came from. Where no answer comes in time, the page stays as
// it was. Classes for the page's own styles: latebind, latebind-badge, -text, -pill, -price, -rating, -button, -picture.
// With data-picture="600x300" a place shows the slot's picture in that size, whose room is kept from the beginning; with
// data-dark too, its dark version where the reader prefers that.
(function () {
  "use strict";
  var script = document.currentScript;
  var server = script.src.slice(0, script.src.lastIndexOf("/slot/"));
  var WAIT = 3000;

  function element(name, kind, text) {
    var made = document.createElement(name);
    made.className = "latebind-" + kind;
    made.textContent = text;
    return made;
  }

  function shown(part) {
    var made = element(part.kind === "text" ? "p" : part.kind === "price" ? "p" : "span", part.kind, part.text);
    if (part.struck) {
      made.textContent = "";
      var before = document.createElement("del");
      before.textContent = part.struck;
      made.append(before, " ", part.text);
    }
    return made;
  }

  function picture(place, told) {
    var made = document.createElement("picture");
    made.className = "latebind-picture";
    if (place.hasAttribute("data-dark")) {
      var dark = document.createElement("source");
      dark.media = "(prefers-color-scheme: dark)";
      dark.srcset = server + told.dark;
      made.append(dark);
    }
    var image = document.createElement("img");
    image.alt = told.alt;
    image.width = told.width;
    image.height = told.height;
    image.decoding = "async";
    image.style.cssText = "display:block;width:100%;height:auto";
    image.src = server + told.light;
    made.append(image);
    return made;
  }

  function keepRoom(place) {
    var size = /^(\d{2,4})x(\d{2,4})$/.exec(place.getAttribute("data-picture"));
    if (!size) return;
    place.style.maxWidth = size[1] + "px";
    place.style.aspectRatio = size[1] + " / " + size[2];
  }

  function put(place, answer) {
    if (!answer.parts.length || !/^https?:\/\//.test(answer.landing)) return;
    var link = document.createElement("a");
    link.className = "latebind";
    link.href = answer.landing;
    link.lang = answer.lang;
    link.dir = answer.dir;
    if (place.hasAttribute("data-picture") && answer.picture) {
      link.style.display = "block";
      link.append(picture(place, answer.picture));
    } else answer.parts.forEach(function (part) { link.append(shown(part), " "); });
    place.replaceChildren(link);
    place.setAttribute("data-decision", answer.decision);
    place.dispatchEvent(new CustomEvent("latebind:shown", { bubbles: true, detail: { decision: answer.decision } }));
  }

  function fill(place) {
    keepRoom(place);
    var stop = new AbortController();
    var late = setTimeout(function () { stop.abort(); }, WAIT);
    place.setAttribute("aria-busy", "true");
    fetch(server + "/v1/decide", {
      method: "POST",
      headers: { "Content-Type": "text/plain" },
      credentials: "omit",
      signal: stop.signal,
      body: JSON.stringify({
        key: script.getAttribute("data-key") || "",
        campaign: Number(place.getAttribute("data-campaign")),
        placement: place.getAttribute("data-latebind-slot"),
        person: script.getAttribute("data-person") || "",
      }),
    })
      .then(function (answer) { if (answer.ok) return answer.json().then(function (told) { put(place, told); }); })
      .catch(function () {}) // The page keeps what it had.
      .finally(function () { clearTimeout(late); place.removeAttribute("aria-busy"); });
  }

  function all() { document.querySelectorAll("[data-latebind-slot]").forEach(fill); }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();
