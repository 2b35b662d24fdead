/* Live updates. In: which run is looked at (heliograph.look), pause. Out: the store `tick`, and what the header says of it.
   A WebSocket where it opens, questions every few seconds where a proxy lets none through. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const ASK_EVERY = 3000;
  const LONGEST = 20000; // between two tries to open a socket
  const SILENT = 60000; // the server says something every 25 s
  const SETTLED = [6000, 5000]; // after the latest news, and after that: longer than a page waits between two drawings
  const TEXT = { live: "live", polling: "polling", paused: "paused", away: "offline", connecting: "connecting" };

  let run = null; // what is looked at: null for all runs
  let shown = 0; // the version on the screen
  let newest = null; // the latest version that is known
  let paused = false;
  let socket = null;
  let opened = false; // whether any socket ever opened
  let failures = 0;
  let asking = null;
  let retry = null;
  let heard = 0;
  let delayed = null;
  let settling = null;
  let trouble = false;

  function base() {
    const config = document.getElementById("_dash-config");
    return config ? JSON.parse(config.textContent).requests_pathname_prefix : "/";
  }
  function say(state) {
    const element = document.getElementById("live");
    if (!element) return;
    const now = paused ? "paused" : state || (socket && socket.readyState === 1 ? "live" : asking ? "polling" : "away");
    if (element.getAttribute("data-state") !== now) {
      element.setAttribute("data-state", now);
      dc.set_props("live-text", { children: TEXT[now] });
    }
  }
  function apply() {
    if (newest === null || paused || document.hidden || newest.run !== run || newest.version <= shown) return;
    shown = newest.version;
    dc.set_props("tick", { data: { run: run, version: shown } });
    settle(0);
  }
  /* Large figures are not drawn anew at each news. When no more come, what they left out is asked for in the end. */
  function settle(turn) {
    clearTimeout(settling);
    const version = shown;
    if (turn < SETTLED.length) settling = setTimeout(function () {
      if (paused || document.hidden || version !== shown) return;
      dc.set_props("tick", { data: { run: run, version: shown, settled: turn } });
      settle(turn + 1);
    }, SETTLED[turn]);
  }
  function news(message) {
    if (message.alive) return;
    if (message.run !== run) return;
    if (trouble !== Boolean(message.trouble)) {
      trouble = Boolean(message.trouble);
      dc.set_props("trouble", { data: trouble });
    }
    newest = message;
    if (delayed) return;
    delayed = setTimeout(function () { delayed = null; apply(); }, Math.random() * (message.spread || 0));
  }
  function ask() {
    fetch(base() + "live" + (run === null ? "" : "?run=" + encodeURIComponent(run)), { cache: "no-store" })
      .then(function (answer) {
        if (answer.status === 401) { window.location.reload(); return null; }
        return answer.ok ? answer.json() : Promise.reject(answer.status);
      })
      .then(function (message) { if (message) { news(message); say(); } })
      .catch(function () { say("away"); });
  }
  function poll(on) {
    if (on && !asking) { asking = setInterval(function () { if (!paused && !document.hidden) ask(); }, ASK_EVERY); ask(); }
    if (!on && asking) { clearInterval(asking); asking = null; }
  }
  function look() {
    if (socket && socket.readyState === 1) socket.send(JSON.stringify({ run: run }));
    else if (asking) ask();
  }
  function connect() {
    retry = null;
    const address = new URL(base() + "live", window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    try { socket = new WebSocket(address); } catch (e) { socket = null; lost(); return; }
    const mine = socket;
    mine.onopen = function () { opened = true; failures = 0; heard = Date.now(); poll(false); look(); say(); };
    mine.onmessage = function (event) { heard = Date.now(); news(JSON.parse(event.data)); };
    mine.onclose = function () { if (socket === mine) { socket = null; lost(); } };
  }
  function lost() {
    failures += 1;
    // A socket that never opens is a proxy's doing; one that broke is a server that restarts. Both are bridged by asking.
    poll(true);
    say(failures > 1 || !opened ? undefined : "away");
    if (!retry) retry = setTimeout(connect, Math.min(LONGEST, 500 * Math.pow(2, Math.min(failures, 6))) * (0.5 + Math.random()));
  }
  setInterval(function () {
    // A connection that died without a word, as after a suspended laptop.
    if (socket && socket.readyState === 1 && Date.now() - heard > SILENT) socket.close();
  }, 10000);
  document.addEventListener("visibilitychange", apply);

  Object.assign(dc.heliograph, {
    look: function (looking) {
      const at = looking ? looking.run : null;
      run = at === undefined ? null : at;
      shown = (looking && looking.version) || 0;
      newest = null;
      clearTimeout(settling);
      if (!socket && !retry && !asking) { say("connecting"); connect(); } else look();
      return dc.no_update;
    },
    pause: function (clicks, was) {
      paused = !was;
      document.documentElement.toggleAttribute("data-paused", paused);
      say();
      if (!paused) apply();
      return [paused, paused ? "true" : "false"];
    },
  });
})();
