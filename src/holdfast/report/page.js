// Under the pointer: the values of every named line at the nearest x.
for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const { box, x, lines } = JSON.parse(svg.dataset.hover);
  const figure = svg.closest("figure"), tip = figure.appendChild(document.createElement("div"));
  tip.className = "tip";
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
  cursor.setAttribute("class", "cursor");
  svg.appendChild(cursor);
  const hide = () => { tip.style.display = "none"; cursor.removeAttribute("d"); };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const value = x[0] + ((at.x - box[0]) / (box[2] - box[0])) * (x[1] - x[0]);
    const all = lines.flatMap((line) => line.x.filter((_, i) => line.y[i] !== null));
    if (!all.length || at.x < box[0] - 6 || at.x > box[2] + 6) return hide();
    const near = all.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
    const px = box[0] + ((near - x[0]) / (x[1] - x[0])) * (box[2] - box[0]);
    cursor.setAttribute("d", `M${px} ${box[1]}V${box[3]}`);
    tip.replaceChildren(`update ${near.toLocaleString("en")}`);
    for (const line of lines) {
      const i = line.x.indexOf(near);
      if (i < 0 || line.y[i] === null) continue;
      const row = tip.appendChild(document.createElement("div"));
      row.textContent = `${line.name}: ${line.y[i]}`;
      row.style.color = `var(--c${line.colour})`;
    }
    tip.style.display = "block";
    const frame = figure.getBoundingClientRect(), left = event.clientX - frame.left;
    tip.style.left = `${left + (left > frame.width / 2 ? -tip.offsetWidth - 14 : 14)}px`;
    tip.style.top = `${event.clientY - frame.top + 10}px`;
  });
}
