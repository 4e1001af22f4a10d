for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const number = head.classList.contains("number");
    const key = (row) => number ? Number(row.cells[column].dataset.key ?? NaN) : row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!number) return (down ? -1 : 1) * x.localeCompare(y, "en", { numeric: true });
      // What has no number stands last, whichever way.
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return down ? y - x : x - y;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
for (const filters of document.querySelectorAll(".filters")) {
  const items = [...document.querySelectorAll("[data-is]")];
  const [buttons, search, count] = [[...filters.querySelectorAll("button")], filters.querySelector("input"), filters.querySelector("output")];
  const show = () => {
    const wanted = buttons.find((button) => button.getAttribute("aria-pressed") === "true").dataset.only;
    const text = search.value.trim().toLowerCase();
    let shown = 0;
    for (const item of items) {
      const fits = (!wanted || item.dataset.is.split(" ").includes(wanted)) && (!text || item.textContent.toLowerCase().includes(text));
      item.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${items.length}`;
  };
  buttons.forEach((button) => button.addEventListener("click", () => {
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    show();
  }));
  search.addEventListener("input", show);
  filters.hidden = false;
  show();
}
