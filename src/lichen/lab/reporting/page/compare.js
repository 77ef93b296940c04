"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
at("title").textContent = data.title;
at("lead").textContent = data.lead;
for (const line of data.how) make("li", {}, at("how"), line);
at("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
});
slider(at("slider"), data.pictures);
