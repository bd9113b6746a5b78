"""Sequences made by a model that predicts the next token: greedily, by chance, or by beam search."""

from __future__ import annotations

from carryover.generation.beam import beam_search
from carryover.generation.generate import generate, stream
from carryover.generation.sampling import Sampling
from carryover.generation.steps import Generated, Limits, PrimedModel, Steppable, Token

__all__ = ["Generated", "Limits", "PrimedModel", "Sampling", "Steppable", "Token", "beam_search", "generate", "stream"]
