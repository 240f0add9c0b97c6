/**
 * A debug page for a person with a browser: the same data as JSON, readable, without scripts. Pure.
 */

const escape = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

export interface Link {
  readonly path: string;
  readonly says: string;
}

const STYLE = `body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:120ch}pre{font:12px/1.5 ui-monospace,monospace;overflow:auto}
nav a{margin-right:1rem}dt{margin-top:.5rem}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}`;

export function htmlPage(title: string, links: readonly Link[], content: string): string {
  const nav = links.map((l) => `<a href="${escape(l.path)}">${escape(l.path)}</a>`).join(" ");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(title)} – heddle</title><style>${STYLE}</style></head>
<body><nav>${nav}</nav><h1>${escape(title)}</h1>${content}</body></html>
`;
}

export const pre = (text: string): string => `<pre>${escape(text)}</pre>`;

export const linkList = (links: readonly Link[]): string =>
  `<dl>${links.map((l) => `<dt><a href="${escape(l.path)}">${escape(l.path)}</a></dt><dd>${escape(l.says)}</dd>`).join("")}</dl>`;
