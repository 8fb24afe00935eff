// draws the equations of a page with KaTeX, which is shipped with the site
document.querySelectorAll(".arithmatex").forEach((element) => {
  const display = element.tagName === "DIV";
  const text = element.textContent.trim().replace(/^\\[([]/, "").replace(/\\[)\]]$/, "");
  katex.render(text, element, { displayMode: display, throwOnError: false });
});
