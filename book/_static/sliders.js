// Brings the figures of extensions/sliders.py to life. What they compute, draw and say stands in each one's
// specification; here the sliders hand over their values, and the page takes the texts.
(() => {
  const here = document.currentScript.src;
  let runtime;

  function load(file) {
    runtime ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      document.head.append(Object.assign(script, { src: new URL(file, here), onload: resolve, onerror: reject }));
    });
    return runtime;
  }

  async function start(part) {
    await load(part.dataset.runtime);
    const specification = vega.parse(JSON.parse(part.querySelector("script").textContent));
    part.hidden = false; // the chart asks its box how wide it is
    const view = new vega.View(specification, { container: part.querySelector(".chart > div"), renderer: "svg" });
    const sliders = part.querySelectorAll("input");
    const status = part.querySelector("[role=status]");
    let pause;

    async function show() {
      for (const slider of sliders) view.signal(slider.name, slider.valueAsNumber);
      await view.runAsync();
      for (const shown of part.querySelectorAll("data")) {
        shown.value = view.signal(shown.dataset.signal);
        shown.textContent = view.signal(`${shown.dataset.signal}_text`);
        shown.parentElement.querySelector("input")?.setAttribute("aria-valuetext", shown.textContent);
      }
    }

    async function change() {
      await show();
      clearTimeout(pause); // once the slider rests, the results are read aloud
      pause = setTimeout(() => { status.textContent = view.signal("all_results_text"); }, 500);
    }

    part.addEventListener("input", change);
    part.querySelector("button").addEventListener("click", () => {
      for (const slider of sliders) slider.value = slider.defaultValue;
      change();
    });
    await show();
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      start(target.querySelector("[data-runtime]"));
    }
  }, { rootMargin: "800px" });
  for (const part of document.querySelectorAll("[data-runtime]")) near.observe(part.parentElement);
})();
