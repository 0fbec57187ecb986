// A classic script in the head: the theme must be known before the first paint.
(() => {
  const KEY = "nexus.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };

  const remember = (theme) => {
    try {
      // Choosing what the system shows anyway means following the system again.
      if (theme === systemTheme()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Without storage the choice lasts until the page closes.
    }
  };

  const systemTheme = () => (system.matches ? "dark" : "light");

  const show = (theme) => {
    root.dataset.theme = theme;
    const next = theme === "dark" ? "light" : "dark";
    document.getElementById("theme-toggle")?.setAttribute("aria-label", `Use ${next} theme`);
  };

  show(stored() ?? systemTheme());
  system.addEventListener("change", () => show(stored() ?? systemTheme()));
  addEventListener("storage", (event) => {
    if (event.key === KEY) show(event.newValue ?? systemTheme());
  });
  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.theme);
    document.getElementById("theme-toggle").addEventListener("click", () => {
      const theme = root.dataset.theme === "dark" ? "light" : "dark";
      remember(theme);
      show(theme);
    });
  });
})();
