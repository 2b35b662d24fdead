/* Cells of tables, and what a table asks for. In: values and the controls of a table. Out: text, never markup. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const components = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const show = window.heliographShow;

  functions.hgKeepOrder = function () { return 0; };
  functions.hgTheme = function (quartz) {
    return quartz.withParams({
      backgroundColor: "var(--hg-surface)", foregroundColor: "var(--hg-text)", headerBackgroundColor: "var(--hg-surface)",
      headerTextColor: "var(--hg-muted)", borderColor: "var(--hg-line)", rowHoverColor: "var(--hg-hover)",
      accentColor: "var(--hg-accent)", chromeBackgroundColor: "var(--hg-surface)", fontFamily: "inherit", fontSize: 13,
      headerFontWeight: 600, headerFontSize: 12, rowHeight: 34, headerHeight: 36, wrapperBorderRadius: 8, cellHorizontalPadding: 12,
      oddRowBackgroundColor: "var(--hg-surface)", columnBorder: false, browserColorScheme: "inherit",
    });
  };
  functions.hgSort = function (params, setEventData) {
    // Only what a person did: the grid also says so when it is given its first order.
    if (params.source !== "uiColumnSorted") return;
    const sorted = params.api.getColumnState().find(function (column) { return column.sort; });
    setEventData({ sort: sorted ? (sorted.sort === "desc" ? "-" : "") + sorted.colId : "" });
  };

  /* Enter follows the link of the cell that has the focus. */
  functions.hgEnter = function (params) {
    const cell = params.event && params.event.key === "Enter" && params.event.target.closest(".ag-cell");
    const link = cell && cell.querySelector("a");
    if (link && params.event.target !== link) link.click();
  };

  const h = function () { return window.React.createElement.apply(null, arguments); };
  function dot(colour) { return h("span", { className: "hg-dot", style: { backgroundColor: colour } }); }
  function badge(text, colour) { return h("span", { className: "hg-badge", style: { "--hg-colour": colour } }, dot(colour), text); }
  function bar(states) {
    const groups = show.groups(states);
    const total = groups.reduce(function (sum, group) { return sum + group.count; }, 0);
    const told = groups.filter(function (g) { return g.count; }).map(function (g) { return g.count.toLocaleString() + " " + g.name; }).join(", ");
    const parts = ["done", "failed", "retrying", "running"].map(function (name) {
      const group = groups.find(function (g) { return g.name === name; });
      return group.count ? h("span", { key: name, style: { width: (100 * group.count) / total + "%", backgroundColor: group.colour } }) : null;
    });
    return h("div", { className: "hg-bar", role: "img", "aria-label": told || "no tasks", title: told || "no tasks" }, parts);
  }

  function content(kind, value, data, field) {
    if (kind === "bar") return bar(value || {});
    if (value === null || value === undefined || value === "") return h("span", { className: "hg-muted" }, "–");
    switch (kind) {
      case "number": return Number(value).toLocaleString();
      case "percent": return (100 * value).toFixed(value < 0.0995 && value > 0 ? 1 : 0) + " %";
      case "duration": return h("span", { title: show.exact(value) }, show.duration(value));
      case "bytes": return h("span", { title: Number(value).toLocaleString() + " bytes" }, show.size(value));
      case "time": return h("span", { title: show.utc(value) }, show.local(value));
      case "state": return badge(show.label(value), show.colour(value));
      case "run_state": return badge(String(value), show.runColour(value));
      case "flag": return value ? "yes" : "no";
      case "app": return h("span", { className: "hg-app", title: String(value) }, dot(data[field + "_colour"] || "#868e96"), h("span", { className: "hg-app-text" }, String(value)));
      case "badge": return badge(String(value), data[field + "_colour"] || "#868e96");
      case "code": return h("span", { className: "hg-code", title: String(value) }, String(value));
      case "place": return h("span", { className: "hg-code", title: String(value) }, String(value).replace(/^[^ ]*\//, ""));
      case "exception": return h("span", { title: String(value) }, String(value).replace(/^(?:\w+\.)+(?=\w+$)/, ""));
      default: return h("span", { title: String(value) }, String(value));
    }
  }

  components.HgCell = function (props) {
    const inner = content(props.kind, props.value, props.data || {}, props.colDef.field);
    const address = props.link && props.data ? props.data[props.link] : null;
    if (!address) return inner;
    const visit = function (event) {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // a new tab is the browser's business
      event.preventDefault();
      show.visit(address);
    };
    return h("a", { href: address, onClick: visit, className: "hg-cell-link" }, inner);
  };

  /* What the table asks for after a change of one of its controls: [asked, query, csv, json, parquet]. */
  dc.heliograph_table = {
    ask: function () {
      const context = dc.callback_context;
      // A button that stands there for the first time says so, too: with no click.
      const changed = context.triggered.filter(function (t) { return t.value !== 0; }).map(function (t) { return t.prop_id; });
      const given = {};
      context.inputs_list.concat(context.states_list).forEach(function (part) { given[part.id + "." + part.property] = part.value; });
      const grid = context.states_list[context.states_list.length - 1].id;
      const name = grid.slice(0, -"grid".length);
      const asked = given[name + "asked.data"], next = given[name + "next.data"], csv = given[name + "csv.href"];
      const event = given[grid + ".eventData"], limit = given[name + "limit.value"];
      const now = Object.assign({}, asked, { filters: Object.assign({}, asked.filters) });
      const query = {};
      let restart = false;
      let moved = false;
      context.inputs_list.forEach(function (input) {
        if (!input.id.startsWith(name + "filter-")) return;
        const key = input.id.slice((name + "filter-").length);
        const value = input.value || "";
        if ((asked.filters[key] || "") !== value) {
          if (value) now.filters[key] = value; else delete now.filters[key];
          restart = true;
        }
      });
      if (changed.some(function (id) { return id.endsWith(".eventData"); }) && event && event.data) {
        const sort = event.data.sort || "";
        if (sort !== asked.sort) { now.sort = sort; restart = true; }
      }
      if (Number(limit) !== asked.limit) { now.limit = Number(limit); restart = true; }
      if (changed.some(function (id) { return id.endsWith("-more.n_clicks"); }) && next !== null && next !== undefined) {
        now.back = asked.back.concat([asked.after]);
        now.after = next;
        moved = true;
      } else if (changed.some(function (id) { return id.endsWith("-back.n_clicks"); })) {
        const back = asked.back.slice();
        now.after = back.length ? back.pop() : null;
        now.back = back;
        moved = true;
      } else if (changed.some(function (id) { return id.endsWith("-first.n_clicks"); })) {
        restart = true;
      }
      if (restart) { now.after = null; now.back = []; }
      if (!restart && !moved) return Array(5).fill(dc.no_update);
      Object.keys(asked.filters).forEach(function (key) { query[key] = ""; });
      Object.assign(query, now.filters, {
        sort: now.sort, rows: now.limit === 50 ? "" : now.limit, after: now.after === null ? "" : JSON.stringify(now.after),
      });
      const all = new URLSearchParams();
      Object.entries(Object.assign({ run: now.run }, now.params, now.filters, { sort: now.sort })).forEach(function (pair) {
        if (pair[1]) all.set(pair[0], pair[1]);
      });
      const base = csv.split("?")[0].replace(/\.csv$/, "");
      const links = ["csv", "json", "parquet"].map(function (form) { return base + "." + form + "?" + all.toString(); });
      return [now, query].concat(links);
    },
  };
})();
