import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

interface ChartProps {
  title: string;
  /** Names of the axes; x counts from 1. */
  x: string;
  y: string;
  series: { name: string; values: (number | null)[] }[];
}

const COLOURS = 5;
const HEIGHT = 220;

/** Lines over a count. The table beside it holds the same numbers for who cannot see it. */
export function Chart({ title, x, y, series }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const longest = Math.max(0, ...series.map(({ values }) => values.length));
    const padded = series.map(({ values }) => [...values, ...Array<null>(longest - values.length).fill(null)]);
    const data: uPlot.AlignedData = [Array.from({ length: longest }, (_, i) => i + 1), ...padded];
    let plot: uPlot | undefined;
    const draw = () => {
      plot?.destroy();
      plot = new uPlot(options(element, x, y, series), data, element);
    };
    draw();
    // Another width asks for another scale, another colour scheme for other colours.
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const observer = new ResizeObserver(() => plot?.setSize({ width: element.clientWidth, height: HEIGHT }));
    scheme.addEventListener("change", draw);
    observer.observe(element);
    return () => {
      scheme.removeEventListener("change", draw);
      observer.disconnect();
      plot?.destroy();
    };
  }, [x, y, series]);
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${y} by ${x}, one line a scenario`} />
    </figure>
  );
}

function options(element: HTMLElement, x: string, y: string, series: ChartProps["series"]): uPlot.Options {
  const [ink, line] = ["--muted", "--line"].map((name) => resolved(element, name));
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false }, y: { range: (_, __, max) => [0, max > 0 ? 1.1 * max : 1] } },
    axes: [
      // Only whole repetitions and tokens.
      { ...axis, label: x, size: 32, labelSize: 22, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
      { ...axis, label: y, size: 56 },
    ],
    series: [
      { label: x },
      ...series.map(({ name }, i) => {
        const stroke = resolved(element, `--series-${(i % COLOURS) + 1}`);
        return { label: name, stroke, width: 2, points: { show: true, size: 6, fill: stroke } };
      }),
    ],
  };
}

/** A canvas knows no variables and no light-dark(): the browser says what a colour is here. */
function resolved(element: HTMLElement, variable: string): string {
  const before = element.style.color;
  element.style.color = `var(${variable})`;
  const { color } = getComputedStyle(element);
  element.style.color = before;
  return color;
}
