"""Where text and labels are in a file of labelled examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from carryover.setting import DATA, column, option


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where text and labels are in a file; see `carryover.data.formats.reading`."""

    text_column: str | int = field(
        default="text",
        metadata=option(
            "Column of the text: a name, or a number from 0 for files without a header. Of a pair both, separated by a comma.",
            DATA,
            read=column,
            metavar="COLUMN",
        ),
    )
    label_column: str | int | None = field(
        default=None,
        metadata=option(
            "Column of the label: a name, or a number from 0 for files without a header. Of words several: upos,feats,lemma. "
            "Default: label; for columns of tokens the last one.",
            DATA,
            read=column,
            metavar="COLUMN",
        ),
    )
    format: str | None = field(
        default=None,
        metadata=option(
            "text, tsv, csv, jsonl, parquet, label-first, conll or conllu; of series: ucr, ts, series-wide, series-long or "
            "arrays. Default: by the file's name, else by its first lines.",
            DATA,
            metavar="FORMAT",
        ),
    )
    multi_label: str | None = field(
        default=None,
        metadata=option("Separator between the labels of a text that may have several.", DATA, metavar="SIGN"),
    )
    coarse: str | None = field(
        default=None,
        metadata=option(
            "Keep only the part of each label before this sign: with ':', NUM:dist is read as NUM.", DATA, metavar="SIGN"
        ),
    )
    scheme: str = field(
        default="auto",
        metadata=option(
            "Span scheme of the tags: iob1, iob2, bioes, bilou, bmes or bmewo; plain: the tags are no spans; auto: by the file.",
            DATA,
            metavar="SCHEME",
        ),
    )
    series_column: str = field(
        default="series",
        metadata=option(
            "Of a long table of series: column that says which series a row belongs to.", DATA, metavar="COLUMN"
        ),
    )
    time_column: str | None = field(
        default=None,
        metadata=option(
            "Of a long table of series: column of the time. Default: time, timestamp, datetime or date.",
            DATA,
            metavar="COLUMN",
        ),
    )
    missing: str = field(
        default="stop",
        metadata=option(
            "Missing values of a series. stop: refuse them; interpolate: fill them on the line between their neighbours.",
            DATA,
            metavar="ACTION",
        ),
    )
    on_error: str = field(
        default="stop",
        metadata=option(
            "stop: stop at the first bad row; skip: leave bad rows out and write them to a rejects file.",
            DATA,
            metavar="ACTION",
        ),
    )

    @property
    def label(self) -> str | int:
        """The column of the label of a table."""
        return "label" if self.label_column is None else self.label_column

    def to_json(self) -> dict[str, Any]:
        """As runs store them: what earlier versions did not have is left out while it is as it was then."""
        added = {"series_column", "time_column", "missing"}
        usual = {one.name: one.default for one in fields(self)}
        return {name: value for name, value in asdict(self).items() if name not in added or value != usual[name]}
