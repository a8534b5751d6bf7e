"use strict";
// Light or dark: as the system has it, until the reader chooses.
const Theme = (() => {
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function remembered(value) {
    try {
      if (value) localStorage.setItem("mtrl-theme", value);
      return localStorage.getItem("mtrl-theme");
    } catch {
      return value; // Some browsers keep nothing for pages from disk.
    }
  }

  function start(button, redraw) {
    const set = (theme) => {
      document.documentElement.dataset.theme = theme;
      button.textContent = theme === "dark" ? "Light theme" : "Dark theme";
    };
    const bySystem = () => (system.matches ? "dark" : "light");
    set(remembered() || bySystem());
    button.addEventListener("click", () => {
      const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      remembered(next);
      set(next);
      redraw();
    });
    system.addEventListener("change", () => {
      if (remembered()) return;
      set(bySystem());
      redraw();
    });
  }

  return { start };
})();
