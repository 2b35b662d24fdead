/* How values look in the browser: times in its own zone, durations, sizes, states. In: numbers and names. Out: text.
   Loaded after heliograph.js and before table.js. Colours and labels come from the server, in the element #words. */
(function () {
  "use strict";
  const words = function () {
    if (!words.kept) {
      const element = document.getElementById("words");
      words.kept = element ? JSON.parse(element.getAttribute("data-words")) : null;
    }
    return words.kept || { groups: {}, group: {}, state: {}, run: {}, labels: {} };
  };
  const SIZES = ["B", "kB", "MB", "GB", "TB", "PB"];
  const two = function (n) { return String(n).padStart(2, "0"); };

  function precise(value) { return Number(value.toPrecision(3)).toString(); }

  const show = {
    duration: function (us) {
      if (us < 0) return "−" + show.duration(-us);
      const s = us / 1e6;
      if (s < 0.0995) return precise(s * 1000) + " ms";
      if (s < 59.95) return precise(s) + " s";
      const whole = Math.round(s);
      const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
      for (const [size, name, smallSize, small] of units) {
        if (whole >= size) {
          const rest = Math.floor((whole % size) / smallSize);
          return Math.floor(whole / size).toLocaleString() + " " + name + (rest ? " " + rest + " " + small : "");
        }
      }
      return whole + " s";
    },
    exact: function (us) { return (us / 1e6).toLocaleString(undefined, { maximumFractionDigits: 6 }) + " s"; },
    size: function (bytes) {
      let value = Number(bytes), at = 0;
      while (Math.abs(value) >= 999.5 && at < SIZES.length - 1) { value /= 1000; at += 1; }
      return precise(value) + " " + SIZES[at];
    },
    utc: function (us) { const d = new Date(us / 1000); return isNaN(d) ? String(us) : d.toISOString().replace("T", " ").replace("Z", " UTC"); },
    local: function (us, form) {
      const d = new Date(us / 1000);
      if (isNaN(d)) return String(us);
      const date = d.getFullYear() + "-" + two(d.getMonth() + 1) + "-" + two(d.getDate());
      const clock = two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds());
      return form === "date" ? date : form === "clock" ? clock : date + " " + clock;
    },
    label: function (state) { return words().labels[state] || state; },
    colour: function (state) { return words().state[state] || words().state.unknown; },
    runColour: function (state) { return words().run[state] || words().run.unknown; },
    groups: function (states) {
      const of = words().groups;
      const counts = {};
      Object.keys(of).forEach(function (name) { counts[name] = 0; });
      Object.keys(states).forEach(function (state) {
        const group = Object.keys(of).find(function (name) { return of[name].indexOf(state) >= 0; }) || "waiting";
        counts[group] += states[state];
      });
      return Object.keys(of).map(function (name) { return { name: name, count: counts[name], colour: words().group[name] }; });
    },
    /* Go to another page of ours, as a link of Dash does. */
    visit: function (address) {
      window.history.pushState({}, "", address);
      window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
      window.scrollTo(0, 0);
    },
  };
  window.heliographShow = show;

  /* <time class="hg-time"> in the reader's zone, wherever and whenever it comes. */
  function localise(element) {
    const iso = (element.getAttribute("datetime") || "").replace(" UTC", "Z").replace(" ", "T");
    const at = Date.parse(iso);
    if (isNaN(at)) return;
    const text = show.local(at * 1000, element.getAttribute("data-form"));
    if (element.textContent !== text) element.textContent = text;
  }
  function all(node) {
    if (node.nodeType !== 1) return;
    if (node.matches("time.hg-time")) localise(node);
    node.querySelectorAll("time.hg-time").forEach(localise);
    arrive(node.matches("[data-arrive]") ? node : node.querySelector("[data-arrive]"));
  }
  /* What a visit is for, when it stands further down on its page: again while what is above it grows, unless somebody
     went elsewhere meanwhile. */
  function arrive(element) {
    if (!element) return;
    const waiting = [0, 300, 1000].map(function (wait) {
      return setTimeout(function () { if (element.isConnected) element.scrollIntoView({ block: "start" }); }, wait);
    });
    ["wheel", "touchstart", "keydown", "mousedown"].forEach(function (kind) {
      window.addEventListener(kind, function () { waiting.forEach(clearTimeout); }, { once: true, passive: true });
    });
  }
  new MutationObserver(function (changes) {
    changes.forEach(function (change) {
      if (change.type === "childList") {
        change.addedNodes.forEach(all);
        if (change.target.nodeType === 1 && change.target.matches("time.hg-time")) localise(change.target);
      } else {
        if (change.attributeName === "data-arrive") { arrive(change.target); return; }
        const element = change.target.nodeType === 1 ? change.target : change.target.parentElement;
        if (element && element.matches("time.hg-time")) localise(element);
      }
    });
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["datetime", "data-arrive"] });
})();
