// Plays one trial: the current step is a parameter of the figure; a sentence gives the same numbers.
const player = (() => {
  const box = document.getElementById("player");
  if (!box) return { show() {} };
  const figure = plotted.find((one) => one.name === "player");
  const [slider, play, now, choice] = ["player-step", "player-play", "player-now", "player-trial"].map((id) => document.getElementById(id));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null;

  const steps = () => store.stepsOf(state.trial);
  const format = (value, digits = 3) => (value === null ? "unknown" : Number(value.toPrecision(digits)).toString().replace("-", "−"));

  function sentence(row, last) {
    const s = page.symbols;
    return (
      `Step ${row.step} of ${last}: target ${format(row.p_target)}, competitor ${format(row.p_competitor)}, all other tokens ${format(row.rest)}; ` +
      `${s.order_parameter} ${format(row.order_parameter)} = signal ${format(row.signal)} + drag ${format(row.drag)}; ` +
      `gap ${format(row.logit_gap)} logits: the ${row.logit_gap > 0 ? "target" : "competitor"} leads.`
    );
  }

  function go(step) {
    const rows = steps();
    if (!rows.length) return;
    const at = Math.max(0, Math.min(step, rows.length - 1));
    slider.value = at;
    const row = rows[at];
    const words = sentence(row, rows.at(-1).step);
    now.textContent = words;
    slider.setAttribute("aria-valuetext", words);
    figure.view?.signal("shown_step", row.step).runAsync();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    now.setAttribute("aria-live", "polite");
  }

  function start() {
    const last = steps().length - 1;
    if (+slider.value >= last) go(0);
    play.textContent = "Pause";
    now.setAttribute("aria-live", "off"); // screen readers read it when it stops, not at every step
    timer = setInterval(() => {
      if (+slider.value >= last) return stop();
      go(+slider.value + 1);
    }, Math.max(50, Math.min(700, 8000 / Math.max(last, 1))));
  }

  function show() {
    stop();
    slider.max = Math.max(steps().length - 1, 0);
    go(0);
  }

  const respectMotion = () => {
    play.hidden = still.matches;
    box.querySelector(".less-motion").hidden = !still.matches;
    if (still.matches) stop();
  };
  still.addEventListener("change", respectMotion);
  respectMotion();
  play.addEventListener("click", () => (timer ? stop() : start()));
  slider.addEventListener("input", () => (stop(), go(+slider.value)));
  box.addEventListener("click", (event) => {
    const by = { first: -Infinity, back: -1, forward: 1, last: Infinity }[event.target.dataset?.move];
    if (by !== undefined) (stop(), go(Number.isFinite(by) ? +slider.value + by : by < 0 ? 0 : steps().length - 1));
  });
  choice.addEventListener("change", () => pickTrial(+choice.value));
  window.addEventListener("beforeprint", () => (stop(), go(steps().length - 1)));
  return { show, go, figure };
})();
