"use strict";
// Draws every figure of the page, and again when the system turns light or dark.
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function template() {
  const style = getComputedStyle(document.documentElement);
  const narrow = innerWidth < 600;
  const axis = { gridcolor: style.getPropertyValue("--edge"), zeroline: false,
    tickfont: { size: narrow ? 11 : 13 } };
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: style.getPropertyValue("--ink"), family: "system-ui, sans-serif", size: narrow ? 13 : 15 },
      hoverlabel: { align: "left" },
      annotationdefaults: { bgcolor: style.getPropertyValue("--paper"), borderpad: 1 },
      xaxis: axis,
      yaxis: axis,
    },
  };
}

function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    const layout = { ...structuredClone(figure.layout), template: template() };
    Plotly.react(id, figure.data, layout, { responsive: true, displaylogo: false,
      displayModeBar: false });
  }
}

dark.addEventListener("change", draw);
draw();
