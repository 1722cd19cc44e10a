// What the tests ask of a page, evaluated in the browser.

/** A computed colour as [red, green, blue, alpha], all from 0 to 1. */
function colour(text) {
  const numbers = text.match(/[\d.]+/g).map(Number);
  return [...numbers.slice(0, 3).map((one) => one / 255), numbers[3] ?? 1];
}

/** The colour that is seen where `over` lies on `under`. */
function mixed(over, under) {
  return [0, 1, 2].map((at) => over[at] * over[3] + under[at] * (1 - over[3])).concat(1);
}

/** What is seen behind an element: its own background on those of its ancestors, on white. */
function behind(element) {
  const layers = [];
  for (let one = element; one; one = one.parentElement) layers.push(colour(getComputedStyle(one).backgroundColor));
  return layers.reverse().reduce((under, over) => mixed(over, under), [1, 1, 1, 1]);
}

/** Relative luminance, as WCAG 2 defines it. */
function luminance(rgb) {
  const [red, green, blue] = rgb.map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function ratio(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

window.lightness = (element) => luminance(behind(element));

/** Every element with a text of its own, and how far that stands out. */
window.contrasts = () =>
  [...document.body.querySelectorAll("*")]
    .filter((one) => !["title", "desc"].includes(one.localName))
    .filter((one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
    .map((one) => {
      const style = getComputedStyle(one);
      const back = behind(one);
      const own = mixed(colour(one.closest("svg") ? style.fill : style.color), back);
      return { text: one.textContent.trim().slice(0, 40), ratio: ratio(own, back) };
    });

/** Every line, bar and cloud of points, and how far its colour stands out. */
window.markContrasts = () =>
  [...document.querySelectorAll("svg .line, svg .points, svg .bar")].map((one) => {
    const back = behind(one);
    return { kind: one.getAttribute("class"), ratio: ratio(mixed(colour(getComputedStyle(one).color), back), back) };
  });

/** Elements that reach over the window's sides, but for what lies in something that scrolls; and texts cut off by their box. */
window.overflowing = () =>
  [...document.body.querySelectorAll("*")]
    .filter((one) => !one.closest(".scroll > *") && !one.closest("svg > *"))
    .filter((one) => {
      const box = one.getBoundingClientRect();
      const cut = !one.matches(".scroll") && one instanceof HTMLElement && one.scrollWidth > one.clientWidth + 1 && one.clientWidth;
      return box.left < -0.5 || box.right > innerWidth + 0.5 || cut;
    })
    .map((one) => `${one.localName}.${one.getAttribute("class")}: ${one.textContent.trim().slice(0, 40)}`);

/** Of each plot: its marks, what reaches out of it, which texts lie on others, and how large its texts are, in pixels. */
window.plots = () =>
  [...document.querySelectorAll("svg[role=img]")].map((svg) => {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    const marks = [...svg.querySelectorAll("circle, rect, path, polyline")];
    const name = (one) => one.textContent.slice(0, 30);
    const outside = [...texts, ...marks].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
    });
    const overlaps = [];
    texts.forEach((one, at) =>
      texts.slice(at + 1).forEach((other) => {
        const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 3) overlaps.push(`${name(one)} / ${name(other)}`); // 3: boxes have room above and below letters
      }),
    );
    const scale = frame.width / svg.viewBox.baseVal.width;
    const textSize = Math.min(...texts.map((one) => parseFloat(getComputedStyle(one).fontSize) * scale));
    return { title: name(svg.querySelector("title")), marks: marks.length, outside: outside.map(name), overlaps, textSize };
  });
