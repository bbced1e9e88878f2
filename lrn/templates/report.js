// The page shows everything without this script. It filters the claims by area and verdict, keeps the choice
// in the address, and unpacks the tables of values.
(function () {
  "use strict";
  var bar = document.getElementById("filter");
  var said = document.getElementById("filter-count");
  var chosen = {};
  ["area", "verdict"].forEach(function (name) {
    chosen[name] = document.getElementById("filter-" + name);
    chosen[name].addEventListener("change", choose);
  });

  function matches(element) {
    return ["area", "verdict"].every(function (name) {
      return !chosen[name].value || element.dataset[name] === chosen[name].value;
    });
  }

  function show() {
    document.querySelectorAll("[data-area]").forEach(function (element) {
      element.hidden = !matches(element);
    });
    document.querySelectorAll(".of-notes").forEach(function (section) {
      section.hidden = !section.querySelector("article:not([hidden])");
    });
    var all = document.querySelectorAll("article").length;
    said.textContent = document.querySelectorAll("article:not([hidden])").length + " of " + all + " shown";
  }

  function choose() {
    var state = new URLSearchParams();
    ["area", "verdict"].forEach(function (name) {
      if (chosen[name].value) state.set(name, chosen[name].value);
    });
    history.replaceState(null, "", state.size || String(state) ? "#" + state : location.pathname + location.search);
    show();
  }

  function restore() {
    var hash = location.hash.slice(1);
    var state = new URLSearchParams(hash);
    var target = document.getElementById(hash);
    if (target && !target.closest("[hidden]")) return; // an anchor within what is shown
    ["area", "verdict"].forEach(function (name) {
      chosen[name].value = state.get(name) || "";
      if (chosen[name].selectedIndex < 0) chosen[name].value = "";
    });
    show();
    if (target) target.scrollIntoView();
  }

  function unpack(event) {
    var link = event.currentTarget;
    if (!window.DecompressionStream) return; // then the packed file is downloaded
    event.preventDefault();
    var packed = Uint8Array.from(atob(link.href.split(",")[1]), function (c) { return c.charCodeAt(0); });
    var stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    new Response(stream).blob().then(function (content) {
      var copy = document.createElement("a");
      copy.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
      copy.download = link.dataset.csv;
      copy.click();
      setTimeout(function () { URL.revokeObjectURL(copy.href); }, 60000);
    });
  }

  document.querySelectorAll("a[data-csv]").forEach(function (link) {
    link.addEventListener("click", unpack);
  });
  window.addEventListener("hashchange", restore);
  bar.hidden = false;
  show();
  restore();
})();
