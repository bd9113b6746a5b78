"""Lines of code with the role of every token, told by the syntax tree: a tagging task that needs no annotator.

=========== ==================================================================
`KEYWORD`   `def`, `return`, `None`, …
`OPERATOR`  `=`, `+`, `->`, …; `PUNCTUATION`: brackets, comma, colon, dot, semicolon
`NUMBER`    `STRING`: a literal; a long one, or one with white space, is shown as `"…"`
`FUNCTION`  a function where it is defined, called by its bare name, or named as a decorator
`METHOD`    an attribute that is called; `ATTRIBUTE`: any other attribute
`CLASS`     a class of this file or a built-in one
`PARAMETER` a parameter where it is declared and wherever its function uses it
`ARGUMENT`  the name in `name=value` of a call
`MODULE`    a module where it is imported and where it is used; `IMPORTED`: what `from … import` names
`TYPE`      a name inside an annotation
`VARIABLE`  any other name
=========== ==================================================================

The same spelling has different roles in different lines (`open` is a function, a method, a parameter), so context decides.
Whether a name is a parameter is sometimes decided outside the line, which keeps the best possible score below one.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
from collections.abc import Iterator

Line = list[tuple[str, str]]

ROLES = (
    "KEYWORD", "OPERATOR", "PUNCTUATION", "NUMBER", "STRING", "FUNCTION", "METHOD", "ATTRIBUTE", "CLASS", "PARAMETER",
    "ARGUMENT", "MODULE", "IMPORTED", "TYPE", "VARIABLE",
)  # fmt: skip
FEWEST_TOKENS, MOST_TOKENS = 4, 40
_LONGEST_STRING = 24
_HIDDEN = '"…"'
_BUILTIN_CLASSES = {name for name, value in vars(builtins).items() if isinstance(value, type)}
_BUILTIN_FUNCTIONS = {name for name, value in vars(builtins).items() if callable(value)} - _BUILTIN_CLASSES
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
_PUNCTUATION = set("()[]{},:;.")
_LITERAL_PARTS = ("FSTRING", "TSTRING")


def code_lines(text: str, tree: ast.Module) -> Iterator[Line]:
    """The logical lines of a file as (token, role) pairs.

    Left out are lines that are too short or too long, bare strings, lines with characters beyond ASCII (there the two
    parsers count columns differently), and lines with formatted strings (which Python versions cut differently).
    """
    roles = _Roles(tree)
    for line in _wanted_lines(text):
        yield [(_shown(item), roles.of(item, before)) for item, before in zip(line, [None, *line], strict=False)]


def plain_lines(text: str) -> Iterator[str]:
    """The same lines without roles, tokens separated by blanks."""
    for line in _wanted_lines(text):
        yield " ".join(map(_shown, line))


def _wanted_lines(text: str) -> Iterator[list[tokenize.TokenInfo]]:
    line: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NEWLINE:
                if _is_wanted(line):
                    yield line
                line = []
            elif token.type not in _SKIPPED:
                line.append(token)
    except (tokenize.TokenError, SyntaxError):
        return


class _Roles:
    """Roles of the names of one file by their place (line, column)."""

    def __init__(self, tree: ast.Module) -> None:
        self._places: dict[tuple[int, int], str] = {}
        self._modules: set[str] = set()
        self._classes = set(_BUILTIN_CLASSES)
        self._functions = set(_BUILTIN_FUNCTIONS)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._modules.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ClassDef):
                self._classes.add(node.name)
        self._functions.update(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
        self._visit(tree, frozenset())

    def of(self, token: tokenize.TokenInfo, before: tokenize.TokenInfo | None) -> str:
        """Role of a token; `before` is the token in front of it on its line."""
        if token.type == tokenize.NUMBER:
            return "NUMBER"
        if token.type == tokenize.STRING:
            return "STRING"
        if token.type == tokenize.OP:
            return "PUNCTUATION" if token.string in _PUNCTUATION else "OPERATOR"
        if keyword.iskeyword(token.string):
            return "KEYWORD"
        if before is not None and before.string == "def":
            return "FUNCTION"
        if before is not None and before.string == "class":
            return "CLASS"
        found = self._places.get(token.start)
        if found is not None:
            return found
        if keyword.issoftkeyword(token.string) and before is None:
            return "KEYWORD"
        line = token.line.split()
        return "MODULE" if line and line[0] in ("import", "from") else "VARIABLE"

    def _visit(self, node: ast.AST, parameters: frozenset[str], context: str = "") -> None:
        """Record the names below `node`. `context` is "type" inside annotations, "call" for what is being called."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            self._visit_function(node, parameters)
        elif isinstance(node, ast.Name):
            self._places[node.lineno, node.col_offset] = self._role_of_name(node.id, parameters, context)
        elif isinstance(node, ast.Attribute):
            self._visit(node.value, parameters, "type" if context == "type" else "")
            column = (node.end_col_offset or 0) - len(node.attr)
            role = {"type": "TYPE", "call": "METHOD"}.get(context, "ATTRIBUTE")
            self._places[node.end_lineno or 0, column] = role
        elif isinstance(node, ast.Call):
            self._visit(node.func, parameters, "call")
            for child in (*node.args, *node.keywords):
                self._visit(child, parameters, context)
        elif isinstance(node, ast.keyword):
            if node.arg is not None:
                self._places[node.lineno, node.col_offset] = "ARGUMENT"
            self._visit(node.value, parameters)
        elif isinstance(node, ast.AnnAssign):
            self._visit(node.annotation, parameters, "type")
            for part in (node.target, node.value):
                if part is not None:
                    self._visit(part, parameters)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self._places[alias.lineno, alias.col_offset] = "IMPORTED"
                if alias.asname:
                    self._places[alias.end_lineno or 0, (alias.end_col_offset or 0) - len(alias.asname)] = "IMPORTED"
        else:
            for child in ast.iter_child_nodes(node):
                self._visit(child, parameters, context if context == "type" else "")

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, outer: frozenset[str]) -> None:
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        for argument in arguments:
            self._places[argument.lineno, argument.col_offset] = "PARAMETER"
            if argument.annotation is not None:
                self._visit(argument.annotation, outer, "type")
        for default in (*given.defaults, *filter(None, given.kw_defaults)):
            self._visit(default, outer)
        inner = outer | {argument.arg for argument in arguments}
        if isinstance(node, ast.Lambda):
            self._visit(node.body, inner)
            return
        for decorator in node.decorator_list:
            self._visit(decorator, outer, "call")
        if node.returns is not None:
            self._visit(node.returns, outer, "type")
        for statement in node.body:
            self._visit(statement, inner)

    def _role_of_name(self, name: str, parameters: frozenset[str], context: str) -> str:
        if context == "type":
            return "TYPE"
        if name in parameters:
            return "PARAMETER"
        if name in self._modules:
            return "MODULE"
        if name in self._classes:
            return "CLASS"
        if context == "call" or name in self._functions:
            return "FUNCTION"
        return "VARIABLE"


def _is_wanted(line: list[tokenize.TokenInfo]) -> bool:
    if not FEWEST_TOKENS <= len(line) <= MOST_TOKENS:
        return False
    for token in line:
        if (
            tokenize.tok_name[token.type].startswith(_LITERAL_PARTS)
            or not token.string.isascii()
            or not token.line.isascii()
        ):
            return False
        if token.type == tokenize.STRING and "f" in token.string.split(token.string[-1])[0].lower():
            return False
    return True


def _shown(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.STRING and (len(token.string) > _LONGEST_STRING or len(token.string.split()) != 1):
        return _HIDDEN
    return token.string
