"use strict";
(() => {
  document.documentElement.classList.add("js");

  // --- tables: a click on a heading sorts, a third one restores the order -----------------------

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const compare = (first, second, numeric) =>
    numeric ? Number(first) - Number(second) : first.localeCompare(second, "en", { numeric: true });

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headings = sortedHeadings(table);
    headings.forEach((heading, column) => {
      if ("fixed" in heading.dataset) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const filled = original.filter((row) => value(row, column) !== "");
        const empty = original.filter((row) => value(row, column) === "");
        const numeric = filled.every((row) => Number.isFinite(Number(value(row, column))));
        const orders = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
        const next = orders[orders.indexOf(heading.getAttribute("aria-sort")) + 1];
        headings.forEach((each) => each.removeAttribute("aria-sort"));
        if (next === undefined) return body.append(...original);
        heading.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        filled.sort((a, b) => sign * compare(value(a, column), value(b, column), numeric));
        body.append(...filled, ...empty);
      });
    });
  }

  /** The headings of single columns from left to right, also where some span two rows. */
  function sortedHeadings(table) {
    const rows = [...table.tHead.rows];
    const tall = [...rows[0].cells].filter((cell) => cell.rowSpan === rows.length);
    return rows.length === 1 ? tall : [...tall, ...rows[rows.length - 1].cells];
  }

  for (const input of document.querySelectorAll(".filter input")) {
    const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
    const found = input.closest(".filter").querySelector(".found");
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const row of rows) {
        const cells = [...row.cells].slice(0, Number(input.dataset.columns));
        row.hidden = !cells.some((cell) => cell.textContent.toLowerCase().includes(wanted));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      found.textContent = wanted === "" ? "" : `${shown} of ${rows.length}`;
    });
  }

  // --- charts: the plan of a point beside it, on hover and on focus ---------------------------------

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);

  function show(point) {
    const heading = document.createElement("p");
    heading.textContent = point.getAttribute("aria-label");
    const plan = document.getElementById(point.dataset.row)?.querySelector("table.plan");
    tip.replaceChildren(heading, ...(plan ? [plan.cloneNode(true)] : []));
    tip.hidden = false;
    const at = point.querySelector(".target").getBoundingClientRect();
    const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
    const size = tip.getBoundingClientRect();
    const right = at.right + 8 + size.width < room.x;
    const left = right ? at.right + 8 : at.left - 8 - size.width;
    tip.style.left = `${Math.max(8, Math.min(left, room.x - size.width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(at.top - 20, room.y - size.height - 8))}px`;
  }
  const hide = () => { tip.hidden = true; };

  for (const group of document.querySelectorAll(".points")) {
    const points = [...group.querySelectorAll(".point")];
    const reach = (chosen) => points.forEach((each) => { each.tabIndex = each === chosen ? 0 : -1; });
    reach(points[0]);
    points.forEach((point, index) => {
      point.querySelector("title")?.remove(); // the tip says it
      point.addEventListener("mouseenter", () => show(point));
      point.addEventListener("mouseleave", hide);
      point.addEventListener("focus", () => { reach(point); show(point); });
      point.addEventListener("blur", hide);
      point.addEventListener("click", () => {
        point.blur();
        document.getElementById(point.dataset.row)?.querySelectorAll("details").forEach((each) => { each.open = true; });
      });
      point.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (event.key === "Escape") hide();
        if (step === undefined) return;
        event.preventDefault();
        points[(index + step + points.length) % points.length].focus();
      });
    });
  }
  window.addEventListener("scroll", () => {
    const focused = document.activeElement?.closest(".point");
    if (focused) show(focused); // it may have been scrolled to
    else hide();
  }, { passive: true, capture: true });

  // --- commands ------------------------------------------------------------------------------------

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(code); // to be copied by hand
        button.textContent = "Selected";
      }
      window.setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
})();
