"""A page from a template: text is escaped, nothing is fetched, the same content gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from carryover.escaping import printable

BASE = "base.html.jinja"


@cache
def stylesheet() -> str:
    """What all pages look like."""
    return resources.files("carryover.pages").joinpath("style.css").read_text(encoding="utf-8")


def render(
    package: str, template: str, content: Mapping[str, Any], *, filters: Mapping[str, Callable[..., Any]] | None = None
) -> str:
    """The page that `template` of a package makes of `content`; it may extend `base.html.jinja`.

    Text is escaped, and what acts on a terminal or reverses the direction of writing is shown as `printable` does. Markup of our own is
    given as `markupsafe.Markup`. Raises jinja2.UndefinedError for what the template names and `content` lacks.
    """
    import jinja2
    from markupsafe import Markup

    sources = {
        BASE: resources.files("carryover.pages").joinpath(BASE).read_text(encoding="utf-8"),
        template: resources.files(package).joinpath(template).read_text(encoding="utf-8"),
    }
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= dict(filters or {})
    return environment.get_template(template).render(style=Markup(stylesheet()), **content)
