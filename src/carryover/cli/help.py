"""`--help` of a verb: its options under headings, in the order in which a user needs them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from carryover.setting import GROUPS, OUTPUT


class Verb(TyperCommand):
    """A command whose help shows the options of each group of `GROUPS` together, on a terminal and in a pipe alike."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments, then options by group; `--help` itself is among those about the output."""
        found: list[Any] = super().get_params(ctx)
        for parameter in found:
            if parameter.rich_help_panel is None and parameter.param_type_name == "option":
                parameter.rich_help_panel = OUTPUT
        return sorted(found, key=_place)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                sections.setdefault(parameter.rich_help_panel or "Arguments", []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _place(parameter: Any) -> int:
    """Of a parameter's group among the groups; arguments come first."""
    return GROUPS.index(parameter.rich_help_panel) if parameter.rich_help_panel in GROUPS else -1
