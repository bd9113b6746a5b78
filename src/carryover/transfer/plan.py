"""The plan of carrying a pretrained encoder over: what is loaded, what stays fixed, how fast the rest moves.

Layer-wise rates, the slanted triangular schedule and gradual unfreezing are those of J. Howard and S. Ruder, "Universal
language model fine-tuning for text classification", ACL 2018, sections 3.2 and 3.3: the layer at depth d below the task's
own layers learns at η · decay^d, and layers are let go one after the other, the topmost first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from carryover.errors import UsageError, check_choice
from carryover.setting import MODEL, TRAINING, option

if TYPE_CHECKING:  # the command line reads the options of the plan without loading PyTorch
    from torch import nn

    from carryover.encoders.encoder import LayerGroup

    Groups = list[LayerGroup]

PLACEMENTS = ("input", "output", "both")


def _none(top: int, groups: Groups) -> Groups:
    return []


def _topmost(top: int, groups: Groups) -> Groups:
    if top > len(groups):
        raise UsageError(
            f"top-k with {top} layers, but the pretrained model has {len(groups)} ({', '.join(x.name for x in groups)})",
            repair=f"give at most {len(groups)}",
        )
    return groups[:top]


def _all(top: int, groups: Groups) -> Groups:
    return groups


# Chosen on 50 to 400 labelled examples; see docs. A tuned encoder costs far more an update and needs fewer.
_LEARNED = {"epochs": 10, "least_updates": 300, "token_budget": 512, "learning_rate": 1e-2, "dropout": 0.5}
_TUNED = {"epochs": 4, "least_updates": 150, "token_budget": 384, "learning_rate": 5e-3, "dropout": 0.3}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way of carrying over: what is needed for it, what of it is trained, and the defaults that go with it.

    uses_encoder, uses_vectors : whether an encoder, or a table of word vectors, is carried over; neither: nothing is.
    tuned : which of the encoder's groups are trained, of `CarryPlan.top` and all groups, topmost first.
    own_parts : whether the task has word vectors and an LSTM besides the mixture where the plan leaves that open.
    defaults : of `FitSettings`.
    """

    uses_encoder: bool = True
    uses_vectors: bool = False
    tuned: Callable[[int, Groups], Groups] = _none
    own_parts: bool = False
    defaults: Mapping[str, Any] = field(default_factory=lambda: _LEARNED)

    @property
    def carries_nothing(self) -> bool:
        return not self.uses_encoder and not self.uses_vectors

    @property
    def tunes_encoder(self) -> bool:
        return self.tuned is not _none


MODES: dict[str, Mode] = {
    "scratch": Mode(uses_encoder=False),
    "static": Mode(uses_encoder=False, uses_vectors=True),
    "frozen": Mode(own_parts=True),
    "head": Mode(defaults={**_LEARNED, "learning_rate": 2e-2, "dropout": 0.2}),
    "top-k": Mode(tuned=_topmost, defaults=_TUNED),
    "full": Mode(tuned=_all, defaults=_TUNED),
}
"""The only place where modes have names."""


FITTED = {
    "features": "carryover.classical.feature_models:feature_model",
    "majority": "carryover.classical.feature_models:majority_model",
}
"""Modes of `train` that are fitted without an encoder and without gradients, and so have no plan → what makes the model."""
FITTING = "carryover.classical.train:train_features"
"""What trains in all of these modes."""


def usual_mode(*, with_encoder: bool) -> str:
    """The mode where none is asked for."""
    return "frozen" if with_encoder else "scratch"


@dataclass(frozen=True, kw_only=True)
class CarryPlan:
    """How what was learned before enters the task. Raises UsageError naming the option that is wrong.

    Attributes
    ----------
    mode : one of `MODES`
        scratch
            nothing is carried over: word vectors, spelling and LSTM begin at random
        static
            word vectors are carried over, fixed or (`tune_vectors`) trained
        frozen
            the encoder is fixed; its layers are mixed, beside word vectors of the task's own, into the input of
            the task's own LSTM (ELMo)
        head
            the encoder is fixed; only the mixture and a linear layer are trained
        top-k
            the topmost `top` layers of the encoder are trained too
        full
            the whole encoder is trained too
    layer_rate_decay : the learning rate of a layer is that of the layer above times this.
    gradual_unfreezing : let the encoder's layers go one by one, the topmost first, each after a share
        `unfreezing_share` of all updates; with False all are trained from the first update.
    slanted_triangular : raise and lower the learning rate over the run instead of keeping it.
    mix_layer_norm : normalise each layer's vectors before mixing them.
    placement : where a mixture of the layers joins the task's own LSTM (Peters et al. 2018, sections 3.3 and 5.2): "input",
        beside what it reads; "output", beside what it gives; "both", with a separate mixture at each, of one pass.
    mix_l2 : λ of λ ‖w‖² added to the loss for the mixtures' weights w, where s = softmax(w); it keeps the shares s even.
    own_words : whether word vectors learned by the task stand beside the mixture; None for the mode's default: frozen.
    context : whether there is a task LSTM between the mixture and the head; None for the mode's default: frozen.
    """

    mode: str = "frozen"
    top: int = field(default=1, metadata=option("Number of layers of the pretrained model that mode top-k tunes.", TRAINING))
    tune_vectors: bool = field(
        default=False, metadata=option("Tune the word vectors in mode static.", TRAINING, "--tune-vectors")
    )
    layer_rate_decay: float = field(
        default=0.4,
        metadata=option("Learning rate of a layer, as a factor of the layer above (modes full and top-k).", TRAINING),
    )
    gradual_unfreezing: bool = field(
        default=True,
        metadata=option(
            "Unfreeze the layers one after the other, from the top (modes full and top-k).",
            TRAINING,
            "--gradual-unfreezing/--no-gradual-unfreezing",
        ),
    )
    unfreezing_share: float = 0.1
    slanted_triangular: bool = True
    mix_layer_norm: bool = field(
        default=False,
        metadata=option(
            "Bring the layers of each word to mean 0 and variance 1 before mixing them.", TRAINING, "--mix-layer-norm"
        ),
    )
    placement: str = field(
        default="input",
        metadata=option(
            "Where the mixed layers join the LSTM of the task (mode frozen): input, output or both.",
            MODEL,
            "--elmo-placement",
        ),
    )
    mix_l2: float = field(
        default=0.0,
        metadata=option(
            "L2 penalty on the weights of the mixture. A higher one keeps the shares of the layers even.", TRAINING
        ),
    )
    own_words: bool | None = None
    context: bool | None = None

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        if self.top < 1:
            raise UsageError(f"top is {self.top}", repair="give the number of layers to train, at least 1")
        if not 0 < self.layer_rate_decay <= 1:
            raise UsageError(f"layer_rate_decay is {self.layer_rate_decay}", repair="give a number above 0, at most 1")
        if not 0 <= self.unfreezing_share <= 0.5:
            raise UsageError(f"unfreezing_share is {self.unfreezing_share}", repair="give a share from 0 to 0.5")
        if not 0 <= self.mix_l2 < math.inf:
            raise UsageError(f"mix_l2 is {self.mix_l2}", repair="give a number from 0")
        for name in ("mix_l2", "mix_layer_norm"):
            if getattr(self, name) and not self.uses_encoder:
                raise UsageError(
                    f"{name} is for a mixture of a pretrained model's layers, and mode {self.mode} has none",
                    repair="use mode frozen, head, top-k or full, or leave it out",
                )
        self._check_placement()

    def _check_placement(self) -> None:
        check_choice("placement", self.placement, PLACEMENTS)
        if self.placement != "input" and not self.has_context:
            raise UsageError(
                f"placement {self.placement!r} needs a task LSTM, and mode {self.mode} has none",
                repair="use mode frozen, or leave the placement out",
            )
        if self.placement == "output" and not self.has_own_words:
            raise UsageError(
                "with the mixture only at the output of the task's LSTM and no task word vectors, that LSTM has no input",
                repair="use placement 'both', or own_words",
            )

    @property
    def kind(self) -> Mode:
        """What the mode means."""
        return MODES[self.mode]

    @property
    def uses_encoder(self) -> bool:
        return self.kind.uses_encoder

    @property
    def tunes_encoder(self) -> bool:
        return self.kind.tunes_encoder

    @property
    def has_context(self) -> bool:
        """Whether the task LSTM reads the mixture. (Words have theirs in the encoder.)"""
        return self.uses_encoder and (self.kind.own_parts if self.context is None else self.context)

    @property
    def has_own_words(self) -> bool:
        """Whether word vectors learned by the task stand beside the mixture."""
        return self.uses_encoder and (self.kind.own_parts if self.own_words is None else self.own_words)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def tuned_groups(plan: CarryPlan, groups: ListOf[LayerGroup]) -> list[LayerGroup]:
    """Those of an encoder's groups, topmost first, that `plan` trains. Raises UsageError when it asks for more than there are."""
    return plan.kind.tuned(plan.top, list(groups))


class Thaw:
    """Freezes what the plan does not train, and lets the rest go at its time; a pure function of the update's number.

    `groups` are those that were carried over, topmost first.
    """

    def __init__(self, plan: CarryPlan, groups: ListOf[LayerGroup], updates: int) -> None:
        self.layers = tuned_groups(plan, groups)
        self.every = round(plan.unfreezing_share * updates) if plan.gradual_unfreezing else 0
        for group in groups if plan.uses_encoder else ():
            for parameter in group.parameters.values():
                parameter.requires_grad_(False)

    def at(self, update: int) -> list[str]:
        """Set `requires_grad` as it is in this update; the names of the layers that are trained."""
        free = [layer for layer in self.layers if update >= layer.depth * self.every]
        for layer in free:
            for parameter in layer.parameters.values():
                parameter.requires_grad_(True)
        for layer in self.layers[len(free) :]:
            for parameter in layer.parameters.values():
                parameter.requires_grad_(False)
                parameter.grad = None
        return [layer.name for layer in free]


def parameter_groups(
    plan: CarryPlan, own: Iterable[nn.Parameter], layers: ListOf[LayerGroup], *, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Groups for an optimiser, each with the `scale` that its learning rate is to be multiplied with.

    `own` are the task's parameters (depth 0). Vectors (biases, peepholes) are spared the weight decay.
    """
    groups: list[dict[str, Any]] = []
    for scale, parameters in [(1.0, list(own))] + [
        (plan.layer_rate_decay**layer.depth, list(layer.parameters.values())) for layer in layers
    ]:
        for decay, part in [
            (weight_decay, [p for p in parameters if p.dim() > 1]),
            (0.0, [p for p in parameters if p.dim() <= 1]),
        ]:
            if part:
                groups.append({"params": part, "scale": scale, "weight_decay": decay})
    return groups
