// What is wrong with the pictures of a report, as the browser laid them out. An expression.
(() => {
  const box = (element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return [left, top, right, bottom];
  };
  const wide = document.documentElement.clientWidth;
  const wrong = [];
  const pictures = [...document.querySelectorAll("svg[role=img]")];

  for (const svg of document.querySelectorAll("svg:not(.data)")) {
    const [l, t, r, b] = box(svg);
    const what = svg.outerHTML.slice(0, 80);
    if (!(r - l > 0 && b - t > 0)) wrong.push(["no size", what]);
    if (!svg.closest(".box") && (l < -0.5 || r > wide + 0.5)) wrong.push(["off the page", what]);
  }
  for (const svg of pictures) {
    const name = svg.querySelector("title").textContent;
    const fail = (...what) => wrong.push([name, ...what]);
    const [l, t, r, b] = box(svg);

    const shapes = [...svg.querySelectorAll(".data path, circle, rect.run, rect[class^=part]")];
    // A line may be flat: then it has a width only.
    const drawn = ({ width, height }, shape) => width > 0 && (height > 0 || shape.matches("path"));
    if (!shapes.some((shape) => drawn(shape.getBBox(), shape))) fail("nothing drawn");
    for (const path of svg.querySelectorAll(".data path")) {
      const view = path.ownerSVGElement.viewBox.baseVal;
      const { x, y, width, height } = path.getBBox();
      if (!(path.getTotalLength() > 0)) fail("no points");
      if (x < view.x || y < view.y || x + width > view.width || y + height > view.height)
        fail("outside of the view box", x, y, width, height);
      if (path.dataset.v.split(",").some((value) => !Number.isFinite(Number(value))))
        fail("values that are no numbers", path.dataset.v.slice(0, 80));
    }
    for (const shape of svg.querySelectorAll("rect, circle, .data")) {
      const [x, y, u, v] = box(shape);
      const slack = shape.matches("circle") ? 10 : 1.5;
      if (x < l - slack || y < t - slack || u > r + slack || v > b + slack)
        fail("outside of its picture", shape.outerHTML.slice(0, 80));
    }
    for (const element of [svg, ...svg.querySelectorAll("*")])
      for (const { name: key, value } of element.attributes)
        if (/\b(NaN|Infinity|undefined|null|None|nan|inf)\b/.test(value)) fail(key, value.slice(0, 80));

    const texts = [...svg.querySelectorAll("text")].map((e) => [e.textContent, e, box(e)]);
    for (const [text, , [x, , u]] of texts) {
      if (!(u > x)) fail("a text without size", text);
      if (x < -0.5 || u > wide + 0.5) fail("text cut off", text, x, u);
    }
    const marks = texts.filter(([, e]) => e.closest(".grid") || svg.matches(".bars"));
    marks.forEach(([one, , a], n) => marks.slice(n + 1).forEach(([other, , b]) => {
      if (a[0] < b[2] - 1 && b[0] < a[2] - 1 && a[1] < b[3] - 3 && b[1] < a[3] - 3)
        fail("texts on each other", one, other);
    }));
  }
  return {
    wrong,
    wide,
    pictures: pictures.length,
    scrolls: document.documentElement.scrollWidth,
    scripts: document.scripts.length,
    images: document.images.length,
    ground: getComputedStyle(document.body).backgroundColor,
    tables: [...document.querySelectorAll(".box")].every((e) => box(e)[2] <= wide + 0.5),
  };
})()
