/* A graph of thousands of tasks, drawn with WebGL: points and thin lines, nothing else, so that it moves at once, with a
   graphics card or without. In: the store with the graph's typed arrays. Out: pixels; what is under the pointer, as text;
   a visit of the task that is clicked. The view is the user's own: new data leaves it where it is. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const KINDS = { u1: Uint8Array, i2: Int16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };
  const POINTS = `#version 300 es
    in vec2 at; in vec3 paint; uniform vec4 view; uniform float size; out vec3 shade;
    void main() { gl_Position = vec4(at * view.xy + view.zw, 0.0, 1.0); gl_PointSize = size; shade = paint; }`;
  const DISC = `#version 300 es
    precision mediump float; in vec3 shade; out vec4 colour;
    void main() { if (length(gl_PointCoord - 0.5) > 0.5) discard; colour = vec4(shade, 1.0); }`;
  const LINES = `#version 300 es
    in vec2 at; uniform vec4 view; void main() { gl_Position = vec4(at * view.xy + view.zw, 0.0, 1.0); }`;
  const FLAT = `#version 300 es
    precision mediump float; uniform vec4 paint; out vec4 colour; void main() { colour = paint; }`;
  let shown = null; // the one canvas of the page

  function unpack(made) {
    const bytes = Uint8Array.from(atob(made.bdata), (c) => c.charCodeAt(0));
    return new KINDS[made.dtype](bytes.buffer);
  }
  function rgb(hex) {
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
  }
  function program(gl, vertex, fragment) {
    const made = gl.createProgram();
    [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]].forEach(function (part) {
      const shader = gl.createShader(part[0]);
      gl.shaderSource(shader, part[1]);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    });
    gl.bindAttribLocation(made, 0, "at");
    gl.bindAttribLocation(made, 1, "paint");
    gl.linkProgram(made);
    return made;
  }

  class Canvas {
    constructor(box) {
      this.box = box;
      this.canvas = document.createElement("canvas");
      this.tip = document.createElement("div");
      this.tip.className = "hg-graph-tip";
      this.tip.hidden = true;
      box.replaceChildren(this.canvas, this.tip);
      const gl = (this.gl = this.canvas.getContext("webgl2", { antialias: false, alpha: true }));
      if (!gl) {
        box.textContent = "This browser has no WebGL. The graph by app and around a task needs none.";
        return;
      }
      this.points = program(gl, POINTS, DISC);
      this.lines = program(gl, LINES, FLAT);
      this.buffers = [0, 1, 2].map(() => gl.createBuffer());
      gl.enable(gl.BLEND);
      gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      this.listen();
      new ResizeObserver(() => this.draw()).observe(box);
    }
    show(data) {
      if (!this.gl) return;
      const gl = this.gl, n = (this.x = unpack(data.x)).length;
      this.data = data;
      this.y = unpack(data.y);
      for (const name of ["task", "number", "seconds", "app", "state"]) this[name] = unpack(data[name]);
      const which = this[data.colour], paints = data.colours.map(rgb);
      const at = new Float32Array(2 * n), colour = new Float32Array(3 * n);
      let wide = 1, high = 1;
      for (let i = 0; i < n; i++) {
        at[2 * i] = this.x[i];
        at[2 * i + 1] = this.y[i];
        colour.set(paints[which[i]], 3 * i);
        if (this.x[i] > wide) wide = this.x[i];
        if (this.y[i] > high) high = this.y[i];
      }
      [at, colour].forEach((array, slot) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[slot]);
        gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
      });
      const edges = Uint32Array.from(unpack(data.edges));
      this.edges = edges.length;
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers[2]);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, edges, gl.STATIC_DRAW);
      this.whole = { x: -0.03 * wide, y: -0.04 * high, w: 1.06 * wide, h: 1.08 * high };
      if (!this.view || !this.moved) this.view = Object.assign({}, this.whole);
      this.draw();
      this.canvas.setAttribute("aria-label", "Graph of " + n + " tasks");
      this.canvas.dataset.tasks = n;
    }
    draw() {
      if (!this.view || this.due) return;
      this.due = requestAnimationFrame(() => { this.due = 0; this.paint(); });
    }
    paint() {
      const gl = this.gl, ratio = window.devicePixelRatio || 1, v = this.view;
      const width = this.box.clientWidth, height = this.box.clientHeight;
      if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
        this.canvas.width = Math.round(width * ratio);
        this.canvas.height = Math.round(height * ratio);
      }
      gl.viewport(0, 0, this.canvas.width, this.canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const view = [2 / v.w, -2 / v.h, -1 - (2 * v.x) / v.w, 1 + (2 * v.y) / v.h];
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[0]);
      gl.enableVertexAttribArray(0);
      gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
      gl.disableVertexAttribArray(1);
      gl.useProgram(this.lines);
      gl.uniform4fv(gl.getUniformLocation(this.lines, "view"), view);
      const near = Math.min(1, Math.max(0, Math.log2(this.whole.w / v.w) / 5));
      const plain = this.edges - 2 * this.data.joins;
      const paint = (colour, alpha) =>
        gl.uniform4fv(gl.getUniformLocation(this.lines, "paint"), rgb(colour).concat(alpha));
      // The more lines, the fainter each, until somebody looks closer.
      const faint = (lines) => Math.min(0.5, Math.max(0.05, 2000 / (lines + 1)));
      const strong = (alpha) => alpha + (0.7 - alpha) * near;
      paint(this.data.lines[0], strong(faint(plain / 2)));
      gl.drawElements(gl.LINES, plain, gl.UNSIGNED_INT, 0);
      paint(this.data.lines[1], strong(faint(2 * this.data.joins)));
      gl.drawElements(gl.LINES, this.edges - plain, gl.UNSIGNED_INT, 4 * plain);
      gl.useProgram(this.points);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[1]);
      gl.enableVertexAttribArray(1);
      gl.vertexAttribPointer(1, 3, gl.FLOAT, false, 0, 0);
      gl.uniform4fv(gl.getUniformLocation(this.points, "view"), view);
      gl.uniform1f(gl.getUniformLocation(this.points, "size"), this.size() * ratio);
      gl.drawArrays(gl.POINTS, 0, this.x.length);
    }
    /* Points grow with the zoom, up to where a finger hits them. */
    size() {
      const rest = Math.sqrt((this.box.clientWidth * this.box.clientHeight) / this.x.length) * 0.34;
      return Math.min(16, Math.max(3, rest * Math.sqrt(this.whole.w / this.view.w)));
    }
    place(index) {
      const v = this.view;
      return [
        ((this.x[index] - v.x) / v.w) * this.box.clientWidth, ((this.y[index] - v.y) / v.h) * this.box.clientHeight,
      ];
    }
    find(px, py) {
      const v = this.view, kx = this.box.clientWidth / v.w, ky = this.box.clientHeight / v.h;
      let best = -1, least = Math.pow(Math.max(6, this.size() / 2 + 2), 2);
      for (let i = 0; i < this.x.length; i++) {
        const dx = (this.x[i] - v.x) * kx - px, dy = (this.y[i] - v.y) * ky - py, d = dx * dx + dy * dy;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }
    point(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }
    hover(event) {
      const at = this.point(event), found = this.find(at[0], at[1]);
      this.canvas.style.cursor = found < 0 ? "grab" : "pointer";
      this.tip.hidden = found < 0;
      if (found < 0) return;
      const spent = this.seconds[found], told = window.heliographShow;
      const time = isNaN(spent) ? "no run time yet" : told ? told.duration(spent * 1e6) : spent.toFixed(2) + " s";
      this.tip.replaceChildren();
      [this.data.apps[this.app[found]], "task " + this.number[found], this.data.states[this.state[found]] + " · " + time]
        .forEach((text) => {
          const line = document.createElement("div");
          line.textContent = text;
          this.tip.appendChild(line);
        });
      const place = this.place(found), left = place[0] > this.box.clientWidth - 240;
      this.tip.style.left = left ? "" : place[0] + 12 + "px";
      this.tip.style.right = left ? this.box.clientWidth - place[0] + 12 + "px" : "";
      this.tip.style.top = Math.min(place[1] + 8, this.box.clientHeight - 76) + "px";
    }
    zoom(factor, px, py) {
      const v = this.view, fx = px / this.box.clientWidth, fy = py / this.box.clientHeight;
      const w = Math.min(this.whole.w * 4, Math.max(2, v.w * factor)), h = v.h * (w / v.w);
      this.view = { x: v.x + (v.w - w) * fx, y: v.y + (v.h - h) * fy, w: w, h: h };
      this.moved = true;
      this.draw();
    }
    listen() {
      const canvas = this.canvas;
      let from = null, far = false;
      canvas.tabIndex = 0;
      canvas.addEventListener("pointerdown", (event) => {
        from = this.point(event);
        far = false;
        canvas.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!this.view) return;
        if (!from) return this.hover(event);
        const at = this.point(event), v = this.view;
        if (!far && Math.hypot(at[0] - from[0], at[1] - from[1]) < 4) return;
        far = this.moved = true;
        this.tip.hidden = true;
        v.x -= ((at[0] - from[0]) / this.box.clientWidth) * v.w;
        v.y -= ((at[1] - from[1]) / this.box.clientHeight) * v.h;
        from = at;
        this.draw();
      });
      canvas.addEventListener("pointerup", (event) => {
        const at = this.point(event), found = from && !far && this.view ? this.find(at[0], at[1]) : -1;
        from = null;
        if (found >= 0) dc.graph.visitTask(this.task[found]);
      });
      canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        const at = this.point(event);
        if (this.view) this.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), at[0], at[1]);
      }, { passive: false });
      canvas.addEventListener("dblclick", () => this.reset());
      canvas.addEventListener("keydown", (event) => {
        const v = this.view, step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (!v) return;
        if (step) { v.x += step[0] * v.w * 0.15; v.y += step[1] * v.h * 0.15; this.moved = true; this.draw(); }
        else if (event.key === "+") this.zoom(0.7, this.box.clientWidth / 2, this.box.clientHeight / 2);
        else if (event.key === "-") this.zoom(1.4, this.box.clientWidth / 2, this.box.clientHeight / 2);
        else if (event.key === "0") this.reset();
        else return;
        event.preventDefault();
      });
    }
    reset() {
      this.moved = false;
      this.view = Object.assign({}, this.whole);
      this.draw();
    }
  }

  dc.graphCanvas = {
    show: function (data) {
      const box = document.getElementById("graph-canvas");
      if (!box) return dc.no_update;
      box.style.display = data ? "" : "none";
      if (!data) return dc.no_update;
      if (!shown || shown.box !== box) shown = new Canvas(box);
      shown.show(data);
      return dc.no_update;
    },
    /* Where a task is on the canvas, in pixels: for tests, and for whoever wants to point at one. */
    where: function (number) {
      const index = shown ? Array.from(shown.number).indexOf(number) : -1;
      return index < 0 ? null : shown.place(index);
    },
  };
})();
