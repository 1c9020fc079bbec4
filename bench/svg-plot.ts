// Bars in groups as an SVG text: for the plots that benchmarks write. Hand-made, as that is all that they need.

export interface BarPlot {
  title: string;
  /** What the vertical axis counts, with its unit. */
  axis: string;
  series: readonly { name: string; color: string }[];
  /** values: one for each series. */
  groups: readonly { name: string; values: readonly number[] }[];
}

const WIDTH = 900;
const HEIGHT = 420;
const LEFT = 64;
const RIGHT = 16;
const TOP = 64;
const BOTTOM = 64;

export function barPlot({ title, axis, series, groups }: BarPlot): string {
  const most = Math.max(...groups.flatMap(({ values }) => values));
  const step = tickStep(most);
  const top = Math.ceil(most / step) * step;
  const y = (value: number) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const groupWidth = (WIDTH - LEFT - RIGHT) / groups.length;
  const barWidth = (groupWidth * 0.8) / series.length;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    text(WIDTH / 2, 22, title, 'text-anchor="middle" font-size="15"'),
    `<g transform="translate(16 ${HEIGHT / 2}) rotate(-90)">${text(0, 0, axis, 'text-anchor="middle"')}</g>`,
  ];
  for (let value = 0; value <= top + step / 2; value += step) {
    parts.push(`<path d="M${LEFT} ${round(y(value))}H${WIDTH - RIGHT}" stroke="#ddd"/>`);
    parts.push(text(LEFT - 6, y(value) + 4, `${Number(value.toPrecision(6))}`, 'text-anchor="end"'));
  }
  series.forEach(({ name, color }, index) => {
    parts.push(
      `<rect x="${LEFT + index * 220}" y="34" width="12" height="12" fill="${color}"/>`,
      text(LEFT + 18 + index * 220, 45, name),
    );
  });
  groups.forEach(({ name, values }, group) => {
    const left = LEFT + group * groupWidth + groupWidth * 0.1;
    values.forEach((value, index) => {
      const x = left + index * barWidth;
      const height = HEIGHT - BOTTOM - y(value);
      parts.push(
        `<rect x="${round(x)}" y="${round(y(value))}" width="${round(barWidth * 0.92)}" height="${round(height)}" fill="${series[index].color}"/>`,
      );
      parts.push(
        text(x + barWidth * 0.46, y(value) - 4, value.toFixed(value < 10 ? 2 : 1), 'text-anchor="middle" font-size="10"'),
      );
    });
    name
      .split("\n")
      .forEach((line, index) =>
        parts.push(text(left + groupWidth * 0.4, HEIGHT - BOTTOM + 18 + 15 * index, line, 'text-anchor="middle"')),
      );
  });
  return `${parts.join("\n")}\n</svg>\n`;
}

/** 1, 2 or 5 times a power of ten, so that there are four to ten lines. */
function tickStep(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most));
  return [0.1, 0.2, 0.5, 1].map((factor) => factor * power).find((step) => most / step <= 10) ?? power;
}

function text(x: number, y: number, content: string, attributes = ""): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escaped}</text>`;
}

const round = (value: number) => Math.round(value * 100) / 100;
