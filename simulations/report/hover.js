"use strict";
// Values under the pointer, or under the arrow keys: all plots over time show the same moment.
(() => {
  const places = (text) => {
    let at = 0;
    return text ? text.split(",").map((step) => (at += Number(step)) / 10000) : [];
  };
  const digits = (value, n) => Number(value.toPrecision(n)).toLocaleString("en", { maximumFractionDigits: 6 });
  const seconds = (s) =>
    s === 0 ? "0 s" : s < 1 ? `${digits(s * 1000, 3)} ms` : s < 60 ? `${digits(s, 3)} s`
      : s < 3600 ? `${digits(s / 60, 3)} min` : s < 172800 ? `${digits(s / 3600, 3)} h` : `${digits(s / 86400, 3)} d`;
  const share = (q) => (q >= 1 ? "100 %" : `${(Math.floor(q * 1e5) / 1e3).toLocaleString("en")} %`);
  const write = { count: (v) => digits(v, 4), s: seconds, share };
  const two = (n) => String(n).padStart(2, "0");
  const moment = (s, began, long) => {
    if (began === null) {
      const whole = Math.floor(s);
      const clock = `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
      return s < 5 ? seconds(s) : clock;
    }
    const text = new Date(1000 * (began + s)).toISOString();
    return `${long ? text.slice(5, 10) + " " : ""}${text.slice(11, 19)} UTC`;
  };

  const plots = [...document.querySelectorAll("figure[data-kind]")].map((figure) => {
    const picture = figure.querySelector("svg.plot");
    const own = places(picture.dataset.x);
    const keys = [...figure.querySelectorAll(".keys li")];
    const drawn = [...picture.querySelectorAll(".data path")].map((path) => ({
      xs: path.dataset.x ? places(path.dataset.x) : own,
      values: path.dataset.v.split(",").map(Number),
      out: keys[Number(path.dataset.key)].querySelector("output"),
    }));
    return {
      figure, picture, drawn, kind: figure.dataset.kind, unit: figure.dataset.unit,
      from: Number(figure.dataset.from), to: figure.dataset.to === undefined ? null : Number(figure.dataset.to),
      cursor: picture.querySelector(".cursor"), at: figure.querySelector(".at"), x: null,
    };
  });

  const show = (plot, x) => {
    plot.x = x;
    plot.cursor.classList.toggle("seen", x !== null);
    if (x === null) {
      plot.at.textContent = "";
      plot.drawn.forEach((line) => { line.out.textContent = ""; });
      return;
    }
    plot.cursor.setAttribute("x1", `${100 * x}%`);
    plot.cursor.setAttribute("x2", `${100 * x}%`);
    plot.at.textContent = plot.kind === "time"
      ? moment(x * plot.from, plot.to, plot.from > 86400)
      : `within ${seconds(plot.from * (plot.to / plot.from) ** x)}`;
    for (const { xs, values, out } of plot.drawn) {
      let low = 0, high = xs.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (xs[middle] <= x + 1e-9) low = middle + 1; else high = middle;
      }
      out.textContent = low ? write[plot.unit](values[low - 1]) : "";
    }
  };
  let wanted = null;
  const later = (plot, x) => {
    if (wanted === null) {
      requestAnimationFrame(() => {
        const [moved, place] = wanted;
        wanted = null;
        plots.forEach((other) => { if (other === moved || (moved.kind === "time" && other.kind === "time")) show(other, place); });
      });
    }
    wanted = [plot, x];
  };
  for (const plot of plots) {
    const frame = plot.picture.parentElement;
    const follow = (event) => {
      const box = plot.picture.getBoundingClientRect();
      later(plot, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    };
    frame.addEventListener("pointermove", follow);
    frame.addEventListener("pointerdown", follow);
    frame.addEventListener("pointerleave", () => later(plot, null));
    plot.picture.setAttribute("tabindex", "0");
    plot.picture.addEventListener("blur", () => later(plot, null));
    plot.picture.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.01, ArrowRight: 0.01, PageDown: -0.1, PageUp: 0.1 }[event.key];
      if (event.key === "Escape") later(plot, null);
      else if (step) {
        event.preventDefault();
        later(plot, Math.min(1, Math.max(0, (plot.x ?? (step > 0 ? 0 : 1)) + step)));
      }
    });
  }
})();
