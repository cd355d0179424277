"use strict";
(() => {
  const root = document.documentElement;
  const record = (what) => {
    root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "\n" : "") + what;
  };
  window.addEventListener("error", (event) => record(event.message));
  window.addEventListener("unhandledrejection", (event) => record(String(event.reason)));

  const page = JSON.parse(document.getElementById("page-data").textContent);
  const datasets = {};
  for (const [name, table] of Object.entries(page.datasets)) {
    datasets[name] = table.rows.map((row) => Object.fromEntries(table.columns.map((c, i) => [c, row[i]])));
  }

  const options = {
    mode: "vega-lite",
    renderer: "svg",
    ast: true,
    actions: { export: true, source: false, compiled: false, editor: false },
    tooltip: { theme: "page" },
  };
  for (const element of document.querySelectorAll("[data-figure]")) {
    const spec = page.specs[element.dataset.figure];
    vegaEmbed(element, { ...spec, datasets: { ...datasets, ...spec.datasets } }, { ...options, downloadFileName: element.dataset.figure }).then(
      () => {
        element.querySelector(".chart-wrapper").setAttribute("aria-label", element.getAttribute("aria-label"));
        element.dataset.drawn = "true";
      },
      (error) => {
        element.dataset.error = String(error);
        record(element.dataset.figure + ": " + error);
      },
    );
  }
})();
