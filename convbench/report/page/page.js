"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const comparisons = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b, "!=": (a, b) => a !== b,
  };

  // Sorting: numbers by value, text by the reader's alphabet; what is empty stays last either way.
  function sort(table, heading) {
    const index = Number(heading.dataset.index), numeric = heading.dataset.numeric === "true";
    const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [row.cells[index].dataset.raw, row]);
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
    });
    body.append(...keyed.map(([, row]) => row));
  }
  all("table.data").forEach((table) =>
    all("th", table).forEach((heading) => heading.addEventListener("click", () => sort(table, heading))));

  // Filtering: every word must occur in a row; column<number compares the raw value, in the unit of the file.
  const records = document.getElementById("records"), input = document.getElementById("filter");
  function tests(query) {
    const columns = Object.fromEntries(all("th", records).map((th) => [th.dataset.column, Number(th.dataset.index)]));
    return query.trim().split(/\s+/).filter(Boolean).map((word) => {
      const parts = word.match(/^(\w+)(<=|>=|!=|<|>|=)(.+)$/);
      if (parts && parts[1] in columns) {
        const [, name, sign, wanted] = parts, number = Number(wanted);
        return (row) => {
          const raw = row.cells[columns[name]].dataset.raw;
          if (Number.isNaN(number)) return comparisons[sign](raw.toLowerCase(), wanted.toLowerCase());
          return raw !== "" && comparisons[sign](Number(raw), number);
        };
      }
      const wanted = word.toLowerCase();
      return (row) => [...row.cells].some((cell) =>
        cell.textContent.toLowerCase().includes(wanted) || cell.dataset.raw.toLowerCase().includes(wanted));
    });
  }
  function filter() {
    const wanted = tests(input.value), shown = new Set();
    const rows = [...records.tBodies[0].rows];
    for (const row of rows) {
      const fits = wanted.every((test) => test(row));
      row.classList.toggle("off", !fits);
      if (fits) shown.add(row.dataset.row);
    }
    document.getElementById("count").value = `${shown.size} of ${rows.length} rows`;
    all(".plot").forEach((plot) => filterPlot(plot, shown));
  }
  function filterPlot(plot, shown) {
    const series = new Set();
    all("[data-row]", plot).forEach((mark) => {
      const fits = shown.has(mark.dataset.row);
      mark.classList.toggle("off", !fits);
      if (fits) series.add(mark.dataset.series);
    });
    all("[data-series]:not([data-row])", plot).forEach((line) =>
      line.classList.toggle("off", !series.has(line.dataset.series)));
    drawFront(plot);
  }
  // The front of the cases still shown; on the page, down and left are better.
  function drawFront(plot) {
    const line = plot.querySelector(".front");
    if (!line) return;
    const places = all(".mark:not(.off, .doubtful)", plot).map((mark) => [Number(mark.dataset.x), Number(mark.dataset.y)]);
    places.sort(([x1, y1], [x2, y2]) => x1 - x2 || y2 - y1);
    let steps = "", best = -Infinity;
    for (const [x, y] of places) {
      if (y <= best) continue;
      steps += steps ? `H${x}V${y}` : `M${x} ${y}`;
      best = y;
    }
    line.setAttribute("d", steps);
  }
  if (input) {
    input.addEventListener("input", filter);
    all("#columns input").forEach((box) => box.addEventListener("change", () => {
      const index = Number(box.value);
      all("tr", records).forEach((row) => row.cells[index].classList.toggle("off", !box.checked));
    }));
    filter();
  }

  // Panels: one of a plot at a time.
  all("select[data-plot]").forEach((select) => select.addEventListener("change", () =>
    all(`.panel[data-plot="${select.dataset.plot}"]`).forEach((panel, index) => {
      panel.hidden = index !== Number(select.value);
    })));

  // Pointing at a case: what it is, its series on every curve, and on a click its row.
  const tip = document.getElementById("tip");
  all(".mark").forEach((mark) => {
    const title = mark.querySelector("title");
    mark.dataset.tip = title.textContent;
    mark.setAttribute("aria-label", title.textContent);
    title.remove();
    const show = () => {
      const box = mark.getBoundingClientRect();
      tip.textContent = mark.dataset.tip;
      tip.hidden = false;
      const left = Math.min(box.right + 8, innerWidth - tip.offsetWidth - 8);
      tip.style.left = `${Math.max(left, 8)}px`;
      tip.style.top = `${Math.max(box.top - tip.offsetHeight - 6, 8)}px`;
    };
    const hide = () => { tip.hidden = true; };
    mark.addEventListener("pointerenter", show);
    mark.addEventListener("focus", show);
    mark.addEventListener("pointerleave", hide);
    mark.addEventListener("blur", hide);
    mark.addEventListener("click", () => {
      const row = records && records.querySelector(`tr[data-row="${mark.dataset.row}"]`);
      if (!row) return;
      all("tr.found").forEach((other) => other.classList.remove("found"));
      row.classList.add("found");
      row.scrollIntoView({ block: "center" });
    });
  });
  all(".plot [data-series]").forEach((part) => {
    const plot = part.closest(".plot");
    const focus = (on) => {
      plot.classList.toggle("focus", on);
      all("[data-series]", plot).forEach((other) =>
        other.classList.toggle("same", on && other.dataset.series === part.dataset.series));
    };
    part.addEventListener("pointerenter", () => focus(true));
    part.addEventListener("pointerleave", () => focus(false));
  });
})();
