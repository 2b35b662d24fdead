/* The timeline in the browser: zooming asks for what the new window holds, once the hand rests; what is under the pointer
   in the image is named. In: plotly's events. Out: stores of the page. Texts are only ever set as text. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const REST = 350; // milliseconds
  let waiting = null;
  let serial = 0;

  function milliseconds(x) {
    return typeof x === "number" ? x : Date.parse(String(x).replace(" ", "T") + "Z");
  }
  function ask(zoomed) {
    clearTimeout(waiting);
    waiting = setTimeout(function () {
      serial += 1;
      zoomed.serial = serial;
      dc.set_props("timeline-zoomed", { data: zoomed });
    }, REST);
  }

  dc.timeline = {
    relayout: function (event) {
      if (!event) return dc.no_update;
      if (event["xaxis.autorange"]) ask({ all: true });
      else if (event["xaxis.range[0]"] !== undefined) {
        ask({ from: event["xaxis.range[0]"], to: event["xaxis.range[1]"] });
      } else if (Array.isArray(event["xaxis.range"])) {
        ask({ from: event["xaxis.range"][0], to: event["xaxis.range"][1] });
      }
      return dc.no_update;
    },
    /* A click on a bar opens its task; in the image and the area it goes nearer to the time that was clicked. */
    click: function (click, seen, links) {
      const point = click && click.points && click.points[0];
      if (!point || !seen) return dc.no_update;
      if (seen.level === "bars") return dc.graph.open(click, "tasks", links);
      const at = milliseconds(point.x);
      const reach = (seen.until - seen.since) / 1000 / 12;
      if (isFinite(at)) ask({ from: at - reach, to: at + reach });
      return dc.no_update;
    },
    hover: function (hover, names) {
      const point = hover && hover.points && hover.points[0];
      if (!names || !point || point.z === undefined) return "";
      const first = Math.round(point.y) * names.a_row;
      const last = Math.min(first + names.a_row, names.lanes.length) - 1;
      const lane = first >= last ? names.lanes[first] : names.lanes[first] + " – " + names.lanes[last];
      const at = new Date(milliseconds(point.x)).toISOString().slice(11, 21);
      const app = point.z ? names.apps[(point.z - 1) >> 1] : "idle";
      return [app, at, lane].join("   ");
    },
  };
})();
