"use strict";
// Errors are recorded in an attribute, where tests can read them.
const root = document.documentElement;
const record = (what) => {
  root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "\n" : "") + what;
};
window.addEventListener("error", (event) => record(event.message));
window.addEventListener("unhandledrejection", (event) => record(String(event.reason)));

// The page's tables: decoded once (column_codec.py describes the format), then filtered by the reader's choices.
const page = JSON.parse(document.getElementById("page-data").textContent);

const KINDS = { u8: [Uint8Array, 0xff], u16: [Uint16Array, 0xffff], f32: [Float32Array, NaN] };

function decodeColumn({ kind, bytes, words }) {
  const text = atob(bytes);
  const raw = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) raw[i] = text.charCodeAt(i);
  const [type, none] = KINDS[kind];
  return Array.from(new type(raw.buffer), (value) =>
    value === none || Number.isNaN(value) ? null : words ? words[value] : value,
  );
}

const decodeColumns = ({ columns }) =>
  Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, decodeColumn(column)]));

function decodeTable(table) {
  const columns = Object.entries(decodeColumns(table));
  return Array.from({ length: table.length }, (_, i) => {
    const row = {};
    for (const [name, values] of columns) row[name] = values[i];
    return row;
  });
}

const over = (value, scale) => (value === null || !scale ? null : value / scale);

const store = (() => {
  const { problems, trials, predictions, compared, trainings, defaults, bars, marks } = Object.fromEntries(
    ["problems", "trials", "predictions", "compared", "trainings", "defaults", "bars", "marks"].map((name) => [name, decodeTable(page.tables[name])]),
  );
  trials.forEach((row, i) => {
    row.trial_id = i;
    row.log_ratio = row.ratio ? Math.log(row.ratio) : null;
    row.relative_final_gap = over(row.gap_final, Math.abs(row.gap_0));
  });

  // A trial's steps are contiguous, so their first and last index suffice; rows are built on demand.
  const columns = decodeColumns(page.tables.steps);
  const ranges = new Map();
  columns.trial.forEach((trial, i) => {
    if (ranges.has(trial)) ranges.get(trial)[1] = i + 1;
    else ranges.set(trial, [i, i + 1]);
  });
  const carried = ["run", "model", "pair", "line", "way", "method", "number", "trial_id", "learning_rate", "ratio", "place", "near", "outcome"];
  const measured = Object.keys(columns).filter((name) => name !== "trial");

  function stepsOf(trial) {
    if (!ranges.has(trial)) return [];
    const of = trials[trial];
    const row = (i) => {
      const step = {};
      for (const name of carried) step[name] = of[name];
      for (const name of measured) step[name] = columns[name][i];
      step.order_parameter = step.signal === null || step.drag === null ? null : step.signal + step.drag;
      step.rest = step.p_target === null || step.p_competitor === null ? null : 1 - step.p_target - step.p_competitor;
      step.progress = step.step / of.steps;
      step.relative_loss = over(step.loss, of.loss_0);
      step.relative_gap = over(step.logit_gap, Math.abs(of.gap_0));
      return step;
    };
    const [start, end] = ranges.get(trial);
    return Array.from({ length: end - start }, (_, i) => row(start + i));
  }
  return { problems, trials, predictions, compared, trainings, defaults, bars, marks, stepsOf, hasSteps: (trial) => ranges.has(trial) };
})();

const AXES = ["run", "model", "pair", "way", "outcome"];

// The reader's choices; null means all. `problem` is the one shown in detail, `trial` the one that the player plays.
const state = { run: null, model: null, pair: null, way: null, outcome: null, problem: page.opening, trial: null };

// What a row doesn't have it isn't chosen by: a problem has no outcome, its trials have.
const picked = (row, but = "") =>
  AXES.every((name) => name === but || state[name] === null || row[name] === undefined || row[name] === state[name]);

// A task is of one model, but may be of many contexts and ways of training.
const ofRunAndModel = (row) => ["run", "model"].every((name) => state[name] === null || row[name] === state[name]);

const DATASETS = {
  problems: () => store.problems.filter((row) => row.eta_c !== null && picked(row)),
  trials: () => store.trials.filter((row) => picked(row)),
  predictions: () => store.predictions.filter((row) => picked(row)),
  compared: () => store.compared.filter((row) => picked(row, "run")),
  trainings: () => store.trainings.filter((row) => picked(row, "pair")),
  defaults: () => store.defaults,
  bars: () => store.bars.filter(ofRunAndModel),
  marks: () => store.marks.filter(ofRunAndModel),
  failures: () =>
    store.trials
      .filter((row) => row.place === page.under && picked(row))
      .flatMap((row) => store.stepsOf(row.trial_id)),
  detail: () =>
    store.trials
      .filter((row) => row.number === state.problem && row.near !== null && row.near < page.around)
      .flatMap((row) => store.stepsOf(row.trial_id)),
  played: () => store.stepsOf(state.trial),
};

// Vega modifies the rows that it is given, so each view gets copies.
const rowsOf = (name) => DATASETS[name]().map((row) => ({ ...row }));
