"use strict";
// What goes wrong is kept where a test can see it.
const root = document.documentElement;
const record = (what) => {
  root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "\n" : "") + what;
};
window.addEventListener("error", (event) => record(event.message));
window.addEventListener("unhandledrejection", (event) => record(String(event.reason)));

// The page's tables: unpacked once (the form is described in pack.py), filtered by what the reader picked.
const page = JSON.parse(document.getElementById("page-data").textContent);

const KINDS = { u8: [Uint8Array, 0xff], u16: [Uint16Array, 0xffff], f32: [Float32Array, NaN] };

function unpackColumn({ kind, bytes, words }) {
  const text = atob(bytes);
  const raw = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) raw[i] = text.charCodeAt(i);
  const [type, none] = KINDS[kind];
  return Array.from(new type(raw.buffer), (value) =>
    value === none || Number.isNaN(value) ? null : words ? words[value] : value,
  );
}

function unpack({ length, columns }) {
  const rows = Array.from({ length }, () => ({}));
  for (const [name, packed] of Object.entries(columns)) {
    const values = unpackColumn(packed);
    for (let i = 0; i < length; i++) rows[i][name] = values[i];
  }
  return rows;
}

const over = (value, scale) => (value === null || !scale ? null : value / scale);

const store = (() => {
  const { problems, trials, steps, predictions, compared } = Object.fromEntries(
    Object.entries(page.tables).map(([name, table]) => [name, unpack(table)]),
  );
  trials.forEach((row, i) => {
    row.trial_id = i;
    row.log_ratio = row.ratio ? Math.log(row.ratio) : null;
    row.relative_final_gap = over(row.gap_final, Math.abs(row.gap_0));
  });
  const carried = ["run", "model", "pair", "line", "way", "method", "number", "trial_id", "learning_rate", "ratio", "place", "near", "outcome"];
  const stepsOf = new Map();
  for (const row of steps) {
    const trial = trials[row.trial];
    for (const name of carried) row[name] = trial[name];
    row.order_parameter = row.signal === null || row.drag === null ? null : row.signal + row.drag;
    row.rest = row.p_target === null || row.p_competitor === null ? null : 1 - row.p_target - row.p_competitor;
    row.progress = row.step / trial.steps;
    row.relative_loss = over(row.loss, trial.loss_0);
    row.relative_gap = over(row.logit_gap, Math.abs(trial.gap_0));
    if (!stepsOf.has(row.trial)) stepsOf.set(row.trial, []);
    stepsOf.get(row.trial).push(row);
  }
  return { problems, trials, predictions, compared, stepsOf };
})();

// What is shown: null is everything. `problem` is the one shown in detail, `trial` the one that is played.
const state = { run: null, model: null, pair: null, way: null, problem: page.opening, trial: null };

const picked = (row, but = "") =>
  ["run", "model", "pair", "way"].every((name) => name === but || state[name] === null || row[name] === state[name]);

const DATASETS = {
  problems: () => store.problems.filter((row) => row.eta_c !== null && picked(row)),
  trials: () => store.trials.filter((row) => picked(row)),
  predictions: () => store.predictions.filter((row) => picked(row)),
  compared: () => store.compared.filter((row) => picked(row, "run")),
  failures: () =>
    store.trials
      .filter((row) => row.place === page.under && picked(row))
      .flatMap((row) => store.stepsOf.get(row.trial_id) ?? []),
  detail: () =>
    store.trials
      .filter((row) => row.number === state.problem && row.near !== null && row.near < page.around)
      .flatMap((row) => store.stepsOf.get(row.trial_id) ?? []),
  played: () => store.stepsOf.get(state.trial) ?? [],
};

// Vega marks the rows that it is given, so each view gets its own.
const rowsOf = (name) => DATASETS[name]().map((row) => ({ ...row }));
