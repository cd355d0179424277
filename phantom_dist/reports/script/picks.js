// The reader's choices: run, model, context, way of training and outcome for the whole page; problem and trial for the details.
const select = (id) => document.getElementById(id);
const rate = (value) => (value === null ? "unknown" : value < 1e-2 ? value.toExponential(3).replace("e-", "e−") : Number(value.toPrecision(4)).toString());

function options(element, entries, value) {
  element.replaceChildren(...entries.map(([key, text]) => new Option(text, key, false, key === value)));
}

function offerProblems() {
  const drawn = store.problems.filter((row) => row.drawn && picked(row));
  if (!drawn.some((row) => row.number === state.problem)) state.problem = drawn[0]?.number ?? null;
  const element = select("pick-problem");
  if (!element) return;
  options(element, drawn.map((row) => [row.number, row.label]), state.problem);
  element.disabled = !drawn.length;
}

function offerTrials() {
  const element = select("player-trial");
  if (!element) return;
  const trials = store.trials.filter((row) => row.number === state.problem && store.hasSteps(row.trial_id));
  trials.sort((a, b) => a.learning_rate - b.learning_rate);
  if (!trials.some((row) => row.trial_id === state.trial)) {
    state.trial = (trials.find((row) => row.place === page.under) ?? trials[0])?.trial_id ?? null;
  }
  const name = (row) => `${rate(row.learning_rate)}${row.ratio ? ` = ${Number(row.ratio.toPrecision(4))} η_c` : ""}, ${row.outcome}`;
  options(element, trials.map((row) => [row.trial_id, name(row)]), state.trial);
  element.disabled = !trials.length;
}

function pickTrial(trial) {
  if (trial === undefined || !store.trials[trial] || !store.hasSteps(trial)) return;
  state.trial = trial;
  const { number } = store.trials[trial];
  if (number !== null && number !== state.problem) state.problem = number;
  details();
}

function details() {
  offerProblems();
  offerTrials();
  const wanted = new Set(["detail", "played"]);
  player.show();
  return drawAll((figure) => !figure.view || [...figure.reads].some((name) => wanted.has(name)));
}

// The contexts of the chosen trials, those with the most trials first.
function listWords(trials) {
  const count = new Map();
  for (const row of trials) count.set(row.pair, (count.get(row.pair) ?? 0) + 1);
  const words = [...count].sort((a, b) => b[1] - a[1]);
  document.getElementById("picked-words-count").textContent = `The words of this choice: ${words.length}`;
  const items = words.map(([pair, trials]) => {
    const item = document.createElement("li");
    item.textContent = trials > 1 ? `${pair} (${trials} trials)` : pair;
    return item;
  });
  document.getElementById("picked-words").replaceChildren(...items);
}

function everything() {
  offerProblems();
  offerTrials();
  const trials = DATASETS.trials();
  document.getElementById("picked").textContent = `${trials.length} of ${store.trials.length} trials`;
  listWords(trials);
  const chosen = AXES.map((name) => state[name]).filter((value) => value !== null);
  document.getElementById("picked-print").textContent = chosen.length ? `The figures show: ${chosen.join("; ")}.` : "";
  for (const row of document.querySelectorAll("[data-problem]")) row.hidden = !picked(store.problems[+row.dataset.problem]);
  player.show();
  return drawAll();
}

for (const name of AXES) {
  const element = select(`pick-${name}`);
  if (!element) continue;
  const values = [...new Set([...store.problems, ...store.trials].map((row) => row[name]))].filter((value) => value !== undefined);
  options(element, [["", "all"], ...values.map((value, i) => [String(i), value])], "");
  element.addEventListener("change", () => {
    state[name] = element.value === "" ? null : values[+element.value];
    everything();
  });
}
select("pick-all")?.addEventListener("click", () => {
  for (const name of AXES) {
    state[name] = null;
    if (select(`pick-${name}`)) select(`pick-${name}`).value = "";
  }
  everything();
});
select("pick-problem")?.addEventListener("change", (event) => {
  state.problem = +event.target.value;
  details();
});
