"use strict";
// Everything that follows the threshold. Without scripts the page shows the calibrated one.
{
  const { threshold: chosen, scores, labels, names } = JSON.parse(document.getElementById("scores").textContent);
  const byId = (id) => document.getElementById(id);
  const CLAMP = Math.log((1 - 1e-4) / 1e-4);
  const logit = (p) => (p <= 0 ? -CLAMP : p >= 1 ? CLAMP : Math.max(-CLAMP, Math.min(CLAMP, Math.log(p / (1 - p)))));
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const distinct = [...new Set(scores)].sort((a, b) => a - b);
  // Between each two neighbouring scores a threshold; and one above all.
  const stops = distinct.map((s, i) => (i ? (distinct[i - 1] + s) / 2 : 0)).concat((distinct.at(-1) + 1) / 2);
  const charts = [...document.querySelectorAll(".live-chart")].map((svg) => ({
    svg, plot: JSON.parse(svg.querySelector("desc").textContent),
  }));
  const LISTED = 200;

  function count(threshold) {
    const now = { escape: [], overkill: [], found: 0, passed: 0 };
    scores.forEach((score, i) => {
      const alarm = score >= threshold;
      if (labels[i]) alarm ? now.found++ : now.escape.push(i);
      else alarm ? now.overkill.push(i) : now.passed++;
    });
    now.escape.sort((a, b) => scores[a] - scores[b]);
    now.overkill.sort((a, b) => scores[b] - scores[a]);
    return now;
  }

  const share = (part, whole) => (whole ? part / whole : 0);
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  function placed(plot, axis, value) {
    const [low, high] = plot[axis];
    const at = Math.max(0, Math.min(1, (value - low) / (high - low)));
    return axis === "x" ? plot.left + at * (plot.right - plot.left) : plot.bottom - at * (plot.bottom - plot.top);
  }

  function drawCharts(threshold, figures) {
    for (const { svg, plot } of charts) {
      const x = placed(plot, "x", logit(threshold));
      for (const line of svg.querySelectorAll(".live.line")) line.setAttribute("d", `M${x},${line.dataset.y0}V${line.dataset.y1}`);
      for (const line of svg.querySelectorAll(".live.line-y")) {
        const y = placed(plot, "y", logit(threshold));
        line.setAttribute("d", `M${line.dataset.x0},${y}H${line.dataset.x1}`);
      }
      const label = svg.querySelector(".live-label");
      if (label) {
        label.textContent = `threshold ${threshold.toFixed(3)}`;
        const half = label.getComputedTextLength() / 2;
        label.setAttribute("x", Math.max(half, Math.min(plot.right - half, x)));
      }
      const alarm = svg.querySelector(".live-from");
      if (alarm) { alarm.setAttribute("x", x); alarm.setAttribute("width", plot.right - x); }
      const dot = svg.querySelector(".live.dot");
      if (dot) {
        const roc = svg.classList.contains("roc");
        const along = roc ? Math.log10(Math.max(figures.overkillRate, 1e-9)) : figures.recall;
        dot.setAttribute("cx", placed(plot, "x", along));
        dot.setAttribute("cy", placed(plot, "y", roc ? figures.recall : figures.precision));
      }
    }
  }

  const cards = [...document.querySelectorAll(".card")];
  const shownCards = new Set(cards.map((card) => Number(card.dataset.index)));

  function sortCards(threshold) {
    const lists = { escape: [], overkill: [], right: [] };
    for (const card of cards) {
      const i = Number(card.dataset.index);
      const alarm = scores[i] >= threshold;
      lists[alarm === Boolean(labels[i]) ? "right" : labels[i] ? "escape" : "overkill"].push(card);
    }
    const far = (card) => Math.abs(logit(scores[card.dataset.index]) - logit(threshold));
    for (const [state, list] of Object.entries(lists)) {
      list.sort((a, b) => (state === "right" ? far(a) - far(b) : far(b) - far(a)));
      const home = byId(state);
      if (list.length) { home.replaceChildren(...list); continue; }
      const none = document.createElement("li");
      none.className = "none";
      none.textContent = home.dataset.none;
      home.replaceChildren(none);
    }
  }

  function listNames(now) {
    for (const state of ["escape", "overkill"]) {
      byId(`count-${state}`).textContent = `(${now[state].length})`;
      const bare = now[state].filter((i) => !shownCards.has(i));
      const more = byId(`more-${state}`);
      more.hidden = !bare.length;
      more.querySelector("summary").textContent = `${bare.length} without a picture here` + (bare.length > LISTED ? `, the first ${LISTED}` : "");
      more.querySelector("ol").replaceChildren(...bare.slice(0, LISTED).map((i) => {
        const item = document.createElement("li");
        item.textContent = `${names[i]} (${scores[i].toFixed(3)})`;
        return item;
      }));
    }
  }

  const slider = byId("slider"), number = byId("number");
  const { plot } = charts[0];
  let current = chosen;

  function show(threshold, mover) {
    current = threshold;
    const now = count(threshold);
    const escapes = now.escape.length, overkills = now.overkill.length;
    const figures = {
      recall: share(now.found, now.found + escapes),
      overkillRate: share(overkills, overkills + now.passed),
      // No alarm at all: as at the left end of the curve.
      precision: now.found + overkills ? now.found / (now.found + overkills) : 1,
    };
    const texts = {
      at: threshold.toFixed(4), passed: now.passed, found: now.found,
      recall: `${(100 * figures.recall).toFixed(1)} %`,
      "overkill-rate": `${(100 * figures.overkillRate).toFixed(2)} %`,
      precision: `${(100 * figures.precision).toFixed(1)} %`,
      f1: share(2 * now.found, 2 * now.found + escapes + overkills).toFixed(4),
    };
    for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
    for (const [id, n, word] of [["escapes", escapes, "escape"], ["overkills", overkills, "overkill"]]) {
      byId(id).textContent = n;
      byId(id).nextSibling.textContent = ` ${word}${n === 1 ? "" : "s"}`;
    }
    if (mover !== slider) slider.value = logit(threshold);
    if (mover !== number) number.value = threshold.toFixed(4);
    slider.setAttribute("aria-valuetext", `${threshold.toFixed(3)}: ${plural(escapes, "escape")}, ${plural(overkills, "overkill")}`);
    byId("lower").disabled = !stops.some((s) => s < distinct.filter((d) => d < threshold).at(-1));
    byId("higher").disabled = !(threshold <= distinct.at(-1));
    drawCharts(threshold, figures);
    sortCards(threshold);
    listNames(now);
  }

  const below = () => { const last = distinct.findLastIndex((s) => s < current); return last < 0 ? current : stops[last]; };
  const above = () => { const first = distinct.findIndex((s) => s >= current); return first < 0 ? current : stops[first + 1]; };

  [slider.min, slider.max, slider.step] = [plot.x[0], plot.x[1], (plot.x[1] - plot.x[0]) / 1000];
  for (const id of ["slider", "controls", "toggles"]) byId(id).hidden = false;
  slider.addEventListener("input", () => show(sigmoid(Number(slider.value)), slider));
  number.addEventListener("input", () => {
    const value = Number(number.value);
    if (number.value !== "" && value >= 0 && value <= 1) show(value, number);
  });
  byId("lower").addEventListener("click", () => show(below()));
  byId("higher").addEventListener("click", () => show(above()));
  byId("reset").addEventListener("click", () => show(chosen));
  for (const layer of ["heat", "mask"]) {
    byId(`show-${layer}`)?.addEventListener("change", (event) => document.body.classList.toggle(`no-${layer}`, !event.target.checked));
  }

  const dialog = byId("large");
  for (const card of cards) {
    card.querySelector("button").addEventListener("click", () => {
      const layers = card.querySelector(".layers").cloneNode(true);
      const [width, height] = layers.style.aspectRatio.split("/").map(Number);
      const scale = Math.min((0.9 * innerWidth - 40) / width, (0.9 * innerHeight - 130) / height);
      layers.style.width = `${width * scale}px`;
      layers.style.height = `${height * scale}px`;
      dialog.querySelector("div").replaceChildren(layers, card.querySelector("p").cloneNode(true));
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  show(chosen);
}
