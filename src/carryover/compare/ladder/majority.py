"""The reference of every comparison: what answers without looking."""

from __future__ import annotations

from carryover.compare.ladder.rung import Cost, LadderRow, Style


class Majority(LadderRow):
    """Always shown, never recommended. It is counted from the labels and no cell is run for it."""

    name = family = mode = "majority"
    cost = Cost(beforehand=0, trained=0)
    style = Style(light="#6f6a60", dark="#a49d90", marker="", line=(0, (1, 2.5)))
    sentence = "The reference, not a rung: answers the most frequent label, or gives each word its most frequent tag."
