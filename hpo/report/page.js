"use strict";
// Draws every figure of the page in the colours of the reader's theme, and follows when it changes.
(() => {
  const dark = JSON.parse(document.getElementById("dark-colors").textContent);
  const theme = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 760px)");
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "pan2d"],
  };

  // Figures come in light colours; each of them has one dark counterpart.
  const painted = (text) =>
    JSON.parse(theme.matches ? text.replace(/#[0-9a-f]{6}\b|rgba\([\d.,]+\)/g, (color) => dark[color] || color) : text);

  const choose = (figure, panel) => {
    const chosen = panel.querySelector(".choices input:checked");
    if (!chosen) return;
    for (const trace of figure.data) {
      if (trace.meta) trace.visible = trace.meta === chosen.value;
    }
  };

  const fit = (figure) => {
    if (!narrow.matches) return;
    figure.layout.font.size = 12;
    figure.layout.margin = { l: 4, r: 6, t: 6, b: 4 };
  };

  // A marker's outline: corners, how far every second one is drawn in, and a turn.
  const outlines = { circle: [32, 1, 0], square: [4, 1, 45], diamond: [4, 1, 0], triangle: [3, 1, 0], pentagon: [5, 1, 0], hexagon: [6, 1, 0], star: [10, 0.45, 0], x: [8, 0.25, 45], cross: [8, 0.25, 0] };
  const dashes = { solid: "", dot: "2 3", dash: "7 3", dashdot: "7 3 2 3", longdash: "10 3", longdashdot: "10 3 2 3" };
  const first = (value) => (Array.isArray(value) ? value[0] : value);

  const swatch = (trace) => {
    const lined = !trace.mode || trace.mode.includes("lines");
    const marked = trace.type === "bar" || (trace.mode || "").includes("markers");
    const line = trace.line || {};
    const marker = trace.marker || {};
    const color = first(marker.color) || line.color;
    const symbol = trace.type === "bar" ? "square" : first(marker.symbol) || "circle";
    const [corners, inner, turn] = outlines[symbol.split("-")[0]] || outlines.circle;
    const points = Array.from({ length: corners }, (_, at) => {
      const angle = ((at * 360) / corners + turn - 90) * (Math.PI / 180);
      const radius = 5 * (at % 2 ? inner : 1);
      return `${14 + radius * Math.cos(angle)},${6 + radius * Math.sin(angle)}`;
    });
    const stroke = `<line x1="0" y1="6" x2="28" y2="6" stroke="${line.color}" stroke-width="2" stroke-dasharray="${dashes[line.dash] || ""}"/>`;
    const fill = symbol.includes("open") ? "none" : color;
    const shape = `<polygon points="${points.join(" ")}" fill="${fill}" stroke="${color}" stroke-width="1.5"/>`;
    const width = lined && trace.type !== "bar" ? 28 : 12;
    return `<svg width="${width}" height="12" viewBox="${width === 28 ? 0 : 8} 0 ${width} 12" aria-hidden="true">${width === 28 ? stroke : ""}${marked ? shape : ""}</svg>`;
  };

  // Plotly's own legend takes the height of the figure on a phone, and no keyboard reaches it.
  const addLegend = (chart, figure) => {
    const box = chart.closest(".panel").querySelector(".legend");
    const named = figure.data.filter((trace) => trace.name && trace.showlegend !== false && trace.visible !== false);
    box.replaceChildren(...named.map((trace) => {
      const button = document.createElement("button");
      button.type = "button";
      button.innerHTML = swatch(trace);
      button.append(trace.name);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") === "false";
        button.setAttribute("aria-pressed", String(shown));
        const group = figure.data.flatMap((other, at) =>
          other === trace || (trace.legendgroup && other.legendgroup === trace.legendgroup) ? [at] : []);
        Plotly.restyle(chart, { visible: shown ? true : "legendonly" }, group);
      });
      return button;
    }));
    box.hidden = figure.layout.showlegend === false || named.length === 0;
    figure.layout.showlegend = false;
  };

  const draw = async (source) => {
    const chart = document.getElementById(source.dataset.chart);
    const figure = painted(source.textContent);
    choose(figure, chart.closest(".panel"));
    fit(figure);
    addLegend(chart, figure);
    const file = { format: "svg", filename: source.dataset.chart.replace("chart-", "") };
    await Plotly.react(chart, figure.data, figure.layout, { ...config, toImageButtonOptions: file });
    chart.dataset.drawn = theme.matches ? "dark" : "light";
  };

  const sources = [...document.querySelectorAll("script[data-chart]")];
  const drawAll = async () => {
    for (const source of sources) {
      await draw(source);
      // Between two figures the page answers to its reader.
      await new Promise((resolve) => setTimeout(resolve));
    }
    document.body.dataset.drawn = theme.matches ? "dark" : "light";
  };

  const followReader = () => {
    const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    document.querySelectorAll("main > section").forEach((section) => seen.observe(section));
  };

  for (const source of sources) {
    const panel = source.closest(".panel");
    panel.querySelectorAll(".choices input").forEach((input) => input.addEventListener("change", () => draw(source)));
  }
  for (const button of document.querySelectorAll(".commands button")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("code").textContent;
      await navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select the lines and copy them"; });
    });
  }
  if (narrow.matches) document.querySelector("nav details").removeAttribute("open");
  theme.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  followReader();
  drawAll();
})();
