/* What the browser does by itself: routing, theme. In: stores of the shell. Out: stores of the shell.
   Texts are only ever set as text. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const THEME = "heliograph-theme";
  let ownSearch = null; // the search that a page has just written into the URL

  function stored() {
    try { return localStorage.getItem(THEME); } catch (e) { return null; }
  }
  function preferred() {
    const known = stored();
    if (known === "light" || known === "dark") return known;
    return window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  function zone() {
    try { return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"; } catch (e) { return "UTC"; }
  }

  dc.heliograph = {
    zone: function () { return zone(); },
    /* A change of the URL is a visit, unless the page made it to note its filters. */
    route: function (pathname, search) {
      if (ownSearch !== null && ownSearch.pathname === pathname && ownSearch.search === (search || "")) {
        return dc.no_update;
      }
      ownSearch = null;
      return { pathname: pathname, search: search || "", zone: zone() };
    },
    /* Put what a page noted into the URL, beside what stands there; empty values go. */
    follow: function (query) {
      if (!query) return dc.no_update;
      const given = new URLSearchParams(window.location.search);
      Object.keys(query).forEach(function (key) {
        const value = query[key];
        if (value !== null && value !== undefined && value !== "") given.set(key, String(value)); else given.delete(key);
      });
      const text = given.toString();
      const search = text ? "?" + text : "";
      if (search === window.location.search) return dc.no_update;
      ownSearch = { pathname: window.location.pathname, search: search };
      window.history.replaceState(window.history.state, "", window.location.pathname + search);
      // Both: what is left as it was, the component would take for the wish to go back there.
      dc.set_props("url", { search: search, href: window.location.href });
      return dc.no_update;
    },
    theme: function (clicks, current) {
      let theme = current || preferred();
      if (clicks && current) {
        theme = current === "dark" ? "light" : "dark";
        try { localStorage.setItem(THEME, theme); } catch (e) { /* private window */ }
      }
      document.documentElement.setAttribute("data-theme", theme);
      document.body.setAttribute("data-ag-theme-mode", theme);
      return [theme, theme];
    },
    title: function (title) {
      if (title) document.title = title;
      return dc.no_update;
    },
  };
})();
