// Figures as text, after the reader picked something else than the page's initial choice.
const figureNumber = (value) => (value === null ? "unknown" : Number(value.toPrecision(3)).toString().replaceAll("-", "−"));

const atPlace = (place) => store.trials.find((row) => row.number === state.problem && row.place === place);

const WORDS = {
  "silent-failure": (problem) => {
    const row = atPlace(page.under);
    if (!row) return `For ${problem.label}: no trial failed just under its critical rate.`;
    return (
      `For ${problem.label}: at ${figureNumber(row.ratio)} η_c the loss goes from ${figureNumber(row.loss_0)} to ${figureNumber(row.loss_final)} nat ` +
      `while the gap ends at ${figureNumber(row.gap_final)} logits: ${row.outcome}.`
    );
  },
  "shares-by-step": (problem) => {
    const parts = [page.under, page.over].map(atPlace).filter(Boolean).map(
      (row) => `${row.place}, in sum readout ${figureNumber(row.readout_sum)} and geometry ${figureNumber(row.geometry_sum)}`,
    );
    return `For ${problem.label}: ${parts.join("; ") || "the page shows no bracket"}.`;
  },
};

function updateWords(name) {
  const words = document.getElementById(`${name}-words`);
  if (!words) return;
  const part = AXES.some((axis) => state[axis] !== null);
  if (name in WORDS) {
    const problem = store.problems[state.problem];
    if (problem) words.querySelector(".said").textContent = WORDS[name](problem);
  } else if (name !== "player") {
    words.querySelector(".scope").textContent = part ? "In words, of the whole page, not only of what is picked" : "In words";
  }
}
