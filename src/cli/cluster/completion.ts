/**
 * `heddle completion`: scripts for shells, made from the tree of commands, so that they never lag behind it. Pure but for printing.
 */
import type { Command } from "commander";
import { EXIT, UserError } from "../errors.ts";

/** One command, as completion needs it. */
export interface Node {
  /** Words behind `heddle`; empty for itself. */
  readonly path: readonly string[];
  readonly commands: readonly { readonly name: string; readonly says: string }[];
  readonly options: readonly {
    readonly flags: readonly string[];
    readonly takesValue: boolean;
    readonly says: string;
  }[];
}

export const SHELLS = ["bash", "zsh", "fish"] as const;

export function completion(program: Command, shell: string): string {
  const nodes = nodesOf(program, []);
  switch (shell) {
    case "bash":
      return bash(nodes);
    case "zsh":
      return zsh(nodes);
    case "fish":
      return fish(nodes);
    default:
      throw new UserError(`There is no completion for "${shell}". There is one for: ${SHELLS.join(", ")}.`, EXIT.usage);
  }
}

/** Pure. Global options are every command's. */
export function nodesOf(command: Command, path: readonly string[], inherited: Node["options"] = []): Node[] {
  const own = command.options
    .filter((option) => !option.hidden)
    .map(({ short, long, required, optional, description }) => ({
      flags: [short, long].filter((flag): flag is string => Boolean(flag)),
      takesValue: required || optional,
      says: description,
    }));
  const options = [...own, ...inherited];
  const children = command.commands.filter((one) => !(one as { _hidden?: boolean })._hidden);
  const node: Node = {
    path,
    commands: children.map((one) => ({ name: one.name(), says: one.summary() || one.description() })),
    options: [...options, { flags: ["-h", "--help"], takesValue: false, says: "display help for command" }],
  };
  return [node, ...children.flatMap((one) => nodesOf(one, [...path, one.name()], path.length === 0 ? own : inherited))];
}

const words = (node: Node): string[] => [
  ...node.commands.map((one) => one.name),
  ...node.options.flatMap((one) => one.flags),
];
const valued = (nodes: readonly Node[]): string[] => [
  ...new Set(nodes.flatMap((node) => node.options.filter((one) => one.takesValue).flatMap((one) => one.flags))),
];

/** Where an option takes a value files are offered; what is none of ours is an argument, and ends the walk down the tree. */
function bash(nodes: readonly Node[]): string {
  const cases = nodes.map((node) => `    "${node.path.join(" ")}") words="${words(node).join(" ")}" ;;`);
  return `# bash completion for heddle. Use it: source <(heddle completion bash)
_heddle() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" word skip=""
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$word" in
      ${valued(nodes).join("|")}) skip=1 ;;
      -*) ;;
      *)
        case "\${path:+$path }$word" in
          ${nodes
            .filter((node) => node.path.length > 0)
            .map((node) => `"${node.path.join(" ")}"`)
            .join("|")}) path="\${path:+$path }$word" ;;
        esac ;;
    esac
  done
  case "$previous" in
    ${valued(nodes).join("|")}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ \${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _heddle heddle kubectl-heddle
`;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function zsh(nodes: readonly Node[]): string {
  const entry = (name: string, says: string) => quote(`${name.replaceAll(":", "\\:")}:${says.split("\n")[0]}`);
  const cases = nodes.map((node) => {
    const entries = [
      ...node.commands.map((one) => entry(one.name, one.says)),
      ...node.options.flatMap((one) => one.flags.map((flag) => entry(flag, one.says))),
    ];
    return `    ${quote(node.path.join(" "))}) entries=(${entries.join(" ")}) ;;`;
  });
  return `#compdef heddle kubectl-heddle
# zsh completion for heddle. Use it: source <(heddle completion zsh)
_heddle() {
  local -a entries known
  local path="" word skip="" i
  known=(${nodes
    .filter((node) => node.path.length > 0)
    .map((node) => quote(node.path.join(" ")))
    .join(" ")})
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$word" in
      ${valued(nodes).join("|")}) skip=1 ;;
      -*) ;;
      *) (( \${known[(Ie)\${path:+$path }$word]} )) && path="\${path:+$path }$word" ;;
    esac
  done
  if [[ -n $skip ]]; then _files; return; fi
  case "$path" in
${cases.join("\n")}
  esac
  _describe 'heddle' entries || _files
}
(( \${+functions[compdef]} )) && compdef _heddle heddle kubectl-heddle
`;
}

function fish(nodes: readonly Node[]): string {
  const lines = nodes.flatMap((node) => {
    const seen = quote(`__heddle_at ${node.path.join(" ")}`.trim());
    return [
      ...node.commands.map(
        (one) => `complete -c heddle -n ${seen} -f -a ${one.name} -d ${quote(one.says.split("\n")[0] ?? "")}`,
      ),
      ...node.options.map(({ flags, takesValue, says }) => {
        const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
        return `complete -c heddle -n ${seen} ${names.join(" ")}${takesValue ? " -r" : ""} -d ${quote(says.split("\n")[0] ?? "")}`;
      }),
    ];
  });
  const known = nodes.filter((node) => node.path.length > 0).map((node) => quote(node.path.join(" ")));
  return `# fish completion for heddle. Use it: heddle completion fish | source
function __heddle_at
  set -l path
  set -l skip
  for word in (commandline -opc)[2..-1]
    if test -n "$skip"
      set skip
      continue
    end
    switch $word
      case ${valued(nodes).map(quote).join(" ")}
        set skip 1
      case '-*'
      case '*'
        contains -- (string join ' ' $path $word) ${known.join(" ")}; and set path $path $word
    end
  end
  test "$path" = "$argv"
end
${lines.join("\n")}
`;
}
