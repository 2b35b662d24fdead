/* The graph and the timeline: a click opens the task or app under the pointer. In: plotly's click, where the run's pages
   are. Out: a visit, as a link would make it. */
(function () {
  "use strict";
  let tasks = null;
  const dc = (window.dash_clientside = window.dash_clientside || {});

  function visit(href) {
    window.history.pushState({}, "", href);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    window.scrollTo(0, 0);
  }

  function first(value) {
    return Array.isArray(value) || ArrayBuffer.isView(value) ? value[0] : value;
  }

  dc.graph = {
    /* `shown` says what the nodes are: "apps", else tasks. */
    open: function (click, shown, links) {
      const point = click && click.points && click.points[0];
      const key = point ? first(point.customdata) : null;
      if (key === null || key === undefined || key === "" || !links) return dc.no_update;
      visit(shown === "apps" ? links.apps + encodeURIComponent(key) : links.tasks + encodeURIComponent(key));
      return dc.no_update;
    },
    links: function (links) {
      tasks = links ? links.tasks : null;
      return dc.no_update;
    },
    visitTask: function (key) {
      if (tasks) visit(tasks + encodeURIComponent(key));
    },
  };
})();
