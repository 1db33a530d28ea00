import type { ComponentChildren } from "preact";

interface ScrollTableProps {
  label: string;
  testId: string;
  columns: readonly { title: string; meaning?: string }[];
  children: ComponentChildren;
}

/** A table that scrolls by itself where it is wider than the screen. */
export function ScrollTable({ label, testId, columns, children }: ScrollTableProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard.
    <section class="scroll" tabIndex={0} aria-label={label}>
      <table data-testid={testId}>
        <thead>
          <tr>
            {columns.map(({ title, meaning }) => (
              <th key={title} scope="col" title={meaning}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody class="numbers">{children}</tbody>
      </table>
    </section>
  );
}
