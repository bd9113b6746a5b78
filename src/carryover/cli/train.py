"""`carryover train`: a task from labelled examples, alone or on top of a pretrained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carryover.cli import options
from carryover.cli.output import print_document, print_lines, suggest_again, suggest_next
from carryover.errors import UsageError


def train(
    task: options.Task,
    train: Annotated[str, typer.Option("--train", help="Labelled training examples.")],
    out: options.Out,
    dev: Annotated[
        str | None, typer.Option("--dev", help="Labelled development examples; without it a fifth of --train is used.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Folder of a pretrained language model (or of word vectors: static).")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="scratch, static, frozen, head, top-k or full; default: frozen with --encoder."),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="Layers of the language model to tune in mode top-k.")] = 1,
    tune_vectors: Annotated[bool, typer.Option("--tune-vectors", help="Tune the word vectors in mode static.")] = False,
    layer_rate_decay: Annotated[
        float, typer.Option("--layer-rate-decay", help="Rate of a layer = rate of the layer above times this (full).")
    ] = 0.4,
    gradual_unfreezing: Annotated[
        bool, typer.Option(help="Let the layers go one after the other, the topmost first (full, top-k).")
    ] = True,
    elmo_placement: options.Placement = "input",
    mix_l2: Annotated[
        float, typer.Option("--mix-l2", help="Penalty on the mixture's weights; more of it keeps the layers' shares even.")
    ] = 0.0,
    mix_layer_norm: Annotated[
        bool,
        typer.Option("--mix-layer-norm", help="Bring each word's layers to mean 0 and variance 1 before they are mixed."),
    ] = False,
    output: Annotated[
        str | None, typer.Option("--output", help="softmax or crf, for tagging; default: crf for tags of spans.")
    ] = None,
    metric: options.Metric = "auto",
    class_weights: options.ClassWeights = "none",
    text_column: options.TextColumn = "text",
    label_column: options.LabelColumn = None,
    format: options.Format = None,
    multi_label: options.MultiLabel = None,
    coarse: options.Coarse = None,
    scheme: options.Scheme = "auto",
    on_error: options.OnError = "stop",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Passes over the training examples; default: by the mode, more for few examples."),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.")] = None,
    dropout: Annotated[
        float | None, typer.Option("--dropout", help="Of the task's own parts; default: by the mode.")
    ] = None,
    hidden: Annotated[int, typer.Option("--hidden", help="Cells a direction of the task's own LSTM.")] = 128,
    patience: Annotated[
        int | None, typer.Option("--patience", help="Stop after this many measurements on --dev without improvement.")
    ] = None,
    time_limit: options.TimeLimit = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a classifier or tagger, keep the weights that score best on the development examples, and store them.

    Prints the carry-over proof: what was loaded, that it still scores as stored, how far each layer moved. Killed or
    interrupted, the same command continues.
    """
    from carryover.devices import choose_device
    from carryover.transfer.train import Columns, TaskRun, train_task

    mode = mode or ("frozen" if encoder is not None else "scratch")
    vectors = None
    if mode == "static":
        if encoder is None:
            raise UsageError("mode static carries word vectors over", repair="give their folder with --encoder")
        from carryover.embeddings.vectors import WordVectors

        stored = WordVectors.load(encoder)
        vectors = (stored.vocabulary, stored.array)
    wanted = TaskRun(
        task=task,
        train=train,
        dev=dev,
        encoder=encoder,
        mode=mode,
        plan={
            "top": top,
            "tune_vectors": tune_vectors,
            "layer_rate_decay": layer_rate_decay,
            "gradual_unfreezing": gradual_unfreezing,
            "placement": elmo_placement,
            "mix_l2": mix_l2,
            "mix_layer_norm": mix_layer_norm,
        },
        fitting={
            "output": output,
            "epochs": epochs,
            "patience": patience,
            "learning_rate": learning_rate,
            "dropout": dropout,
            "hidden": hidden,
            "time_limit": options.seconds(time_limit),
            "seed": seed,
            "multi_label": multi_label is not None,
            "metric": metric,
            "class_weights": class_weights,
        },
        columns=Columns(
            text_column=options.column(text_column),
            label_column=options.column(label_column),
            format=format,
            multi_label=multi_label,
            coarse=coarse,
            scheme=scheme,
            on_error=on_error,
        ),
        device=choose_device(device),
    )
    if dry_run:
        from carryover.transfer.calibration import estimate_task

        forecast: dict[str, Any] = estimate_task(wanted, vectors)
        print_document(forecast) if as_json else print_lines(forecast["lines"])
        suggest_again()
        return
    result = train_task(wanted, out, vectors=vectors, quiet=quiet)
    if as_json:
        print_document(result.to_json())
    else:
        # While it trained, the proof already stood on standard error.
        proof = result.proof_lines() if quiet or result.fitted is None else []
        print_lines([*proof, *result.mix_lines(), *result.lines()])
    suggest_next(["carryover", "evaluate", out, "--test", options.beside(train, "test")])
