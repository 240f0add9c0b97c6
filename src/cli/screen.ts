/**
 * A terminal that is redrawn in place, without flicker: lines are written over the old ones, nothing is cleared first.
 */

/** What is needed of a terminal's stream. */
export interface Terminal {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

const [ALTERNATE, BACK] = ["\u001B[?1049h\u001B[?25l", "\u001B[?25h\u001B[?1049l"];
/** Terminals that know it show all between at once; others pass it over. */
const [HOLD, SHOW] = ["\u001B[?2026h", "\u001B[?2026l"];
const [HOME, CLEAR_LINE, CLEAR_BELOW] = ["\u001B[H", "\u001B[K", "\u001B[J"];

export class Screen {
  readonly #terminal: Terminal;
  #shown: string | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  get size(): { readonly columns: number; readonly rows: number } {
    return { columns: this.#terminal.columns || 80, rows: this.#terminal.rows || 24 };
  }

  /** Shows these lines and no others. */
  draw(lines: readonly string[]): void {
    const text = lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n");
    if (text === this.#shown) return;
    const first = this.#shown === undefined ? ALTERNATE : "";
    this.#shown = text;
    this.#terminal.write(`${first}${HOLD}${HOME}${text}${CLEAR_BELOW}${SHOW}`);
  }

  /** The next drawing is a whole one: the terminal's size is other than it was. */
  resized(): void {
    if (this.#shown !== undefined) this.#shown = "";
  }

  /** Gives the terminal back as it was. */
  leave(): void {
    if (this.#shown !== undefined) this.#terminal.write(BACK);
    this.#shown = undefined;
  }
}
