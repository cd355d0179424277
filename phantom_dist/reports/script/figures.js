// A figure draws its specification with the tables' rows, and redraws when the reader picks something else.
class PlottedFigure {
  constructor(element) {
    this.element = element;
    this.name = element.dataset.figure;
    this.specs = page.figures[this.name];
    // Vega adds its own accessible names; the figure has better ones, and its numbers as text, so they are hidden.
    this.mount = element.appendChild(document.createElement("div"));
    this.mount.setAttribute("aria-hidden", "true");
    this.view = null;
    this.reads = new Set();
    const tools = element.closest("figure").querySelector(".tools");
    tools?.addEventListener("click", (event) => this.use(event.target.closest("button")?.dataset.do));
    tools?.addEventListener("keydown", (event) => this.move(event));
  }

  variant() {
    if (!this.specs.many) return "few";
    const seen = new Set(DATASETS[this.specs.of]().map((row) => row[this.specs.by]));
    return seen.size > this.specs.limit ? "many" : "few";
  }

  async draw() {
    const variant = this.variant();
    if (this.view && variant === this.drawn) return this.refresh();
    this.view?.finalize();
    const fill = (vega) => {
      this.reads = new Set(vega.data.map((data) => data.name).filter((name) => name in DATASETS));
      for (const data of vega.data) if (this.reads.has(data.name)) data.values = rowsOf(data.name);
      return vega;
    };
    const result = await vegaEmbed(this.mount, this.specs[variant], {
      logLevel: 1, // errors only: an axis without values, after a choice, is not one
      mode: "vega-lite", renderer: "svg", ast: true, actions: false, tooltip: { theme: "page" }, patch: fill,
    });
    this.view = result.view;
    this.drawn = variant;
    const zooms = JSON.stringify(this.specs[variant]).includes('"bind":"scales"');
    for (const button of this.element.closest("figure").querySelectorAll("[data-do^=zoom], [data-do=reset]")) button.hidden = !zooms;
    this.view.addEventListener("click", (event, item) => pickTrial(item?.datum?.trial_id));
    this.mark();
  }

  async refresh() {
    for (const name of this.reads) this.view.data(name, rowsOf(name));
    await this.view.runAsync();
    this.mark();
  }

  mark() {
    const empty = [...this.reads].every((name) => this.view.data(name).length === 0);
    updateWords(this.name);
    this.element.dataset.empty = empty;
    this.element.dataset.drawn = "true";
    this.element.dataset.variant = this.drawn;
  }

  async use(what) {
    if (what === "zoom-in" || what === "zoom-out") this.wheel(what === "zoom-in" ? -240 : 240);
    if (what === "reset") this.send("dblclick");
    if (what === "svg" || what === "png") {
      const url = await this.view.toImageURL(what, 2);
      Object.assign(document.createElement("a"), { href: url, download: `${this.name}.${what}` }).click();
    }
  }

  // The keyboard sends the mouse's events: the wheel over the centre of the first panel, or a drag of it.
  move(event) {
    const along = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!along || !this.element.closest("figure").querySelector('[data-do="zoom-in"]')) return;
    event.preventDefault();
    this.send("pointerdown");
    this.send("pointermove", 40 * along[0], 40 * along[1]);
    this.send("pointerup", 40 * along[0], 40 * along[1]);
  }

  wheel(deltaY) {
    this.send("wheel", 0, 0, { deltaY, ctrlKey: true });
  }

  send(type, dx = 0, dy = 0, more = {}) {
    const groups = [...this.mount.querySelectorAll("g.mark-group.role-scope, g.mark-group.root")].filter((group) => !group.closest(".role-legend"));
    const panels = groups.map((group) => group.querySelector("path.background")).filter((one) => one?.getBoundingClientRect().width > 0);
    const panel = panels[0];
    if (!panel) return;
    const box = panel.getBoundingClientRect();
    const at = { clientX: box.x + box.width / 2 + dx, clientY: box.y + box.height / 2 + dy, bubbles: true, cancelable: true, view: window };
    const kind = type === "wheel" ? WheelEvent : type.startsWith("pointer") ? PointerEvent : MouseEvent;
    panel.dispatchEvent(new kind(type, { ...at, ...more }));
  }
}

const plotted = [...document.querySelectorAll("[data-figure]")].map((element) => new PlottedFigure(element));

// Draws one figure at a time, visible ones first, and yields to the browser after each; a newer request replaces an older one.
let request = 0;
let stale = new Set();
async function drawAll(which = () => true) {
  const mine = ++request;
  stale = new Set([...stale, ...plotted.filter(which)]);
  for (let figure = next(); figure && mine === request; figure = next()) {
    stale.delete(figure);
    try {
      await figure.draw();
    } catch (error) {
      figure.element.dataset.error = String(error);
      record(`${figure.name}: ${error}`);
    }
    if (!performance.getEntriesByName("first-figure").length) performance.mark("first-figure");
    await new Promise((done) => setTimeout(done, 0));
  }
  if (mine === request && !stale.size) {
    document.documentElement.dataset.ready = "true";
    if (!performance.getEntriesByName("all-figures").length) performance.mark("all-figures");
  }
}
function next() {
  const waiting = plotted.filter((figure) => stale.has(figure));
  const seen = (figure) => {
    const box = figure.element.getBoundingClientRect();
    return box.bottom > 0 && box.top < window.innerHeight;
  };
  return waiting.find(seen) ?? waiting[0];
}
