"""The cache of representations: right, computed once, bounded, shared by processes, and never trusted when damaged."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from carryover.encoders import vector_cache as cache_module
from carryover.encoders.vector_cache import RepresentationCache, represent
from carryover.errors import UsageError
from task_material import language_model, tagged

SENTENCES = [sentence.input.tokens for sentence in tagged(30)] + [(), ("alone",), tuple(["long"] * 150)]


def make(folder: Path, **options: object) -> RepresentationCache:
    encoder = language_model()
    return RepresentationCache(encoder, folder=folder, **options)  # type: ignore[arg-type]


def packs(folder: Path) -> list[Path]:
    return sorted(folder.glob("representations/*/[0-9a-f]*"))


def count_computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of sentences of every call that computes."""
    calls: list[int] = []

    def counted(encoder, sentences):  # type: ignore[no-untyped-def]
        if sentences:
            calls.append(len(sentences))
        return represent(encoder, sentences)

    monkeypatch.setattr(cache_module, "represent", counted)
    return calls


@torch.no_grad()
def test_a_sentence_is_the_same_alone_and_in_company() -> None:
    encoder = language_model()
    together = represent(encoder, SENTENCES)
    backwards = represent(encoder, SENTENCES[::-1])[::-1]
    for sentence, one, other in zip(SENTENCES, together, backwards, strict=True):
        alone = represent(encoder, [sentence])[0]
        plain = encoder.model.representations(encoder.coder.batch([sentence], borders=True)).values[0]
        assert alone.shape == (len(sentence), encoder.model.mixed_layers, encoder.model.out_size)
        for vectors in (one, other, plain):
            torch.testing.assert_close(vectors, alone, rtol=0, atol=1e-6)


def test_stored_vectors_are_those_computed(tmp_path: Path) -> None:
    cache = make(tmp_path)
    expected = represent(cache.encoder, SENTENCES)
    for reader in (cache, make(tmp_path)):
        found = reader.get(SENTENCES)
        batch = found.batch([5, 30, 31, 0])
        assert batch.lengths.tolist() == [len(SENTENCES[i]) for i in (5, 30, 31, 0)]
        for row, position in zip(batch.rows(), (5, 30, 31, 0), strict=True):
            torch.testing.assert_close(row, expected[position], rtol=0, atol=1e-6)
        assert (batch.values[1] == 0).all() and len(found) == len(SENTENCES)


def test_nothing_is_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_computed(monkeypatch)
    make(tmp_path).get(SENTENCES[:10])
    make(tmp_path).get(SENTENCES[5:20] + SENTENCES[5:20])
    make(tmp_path).get(SENTENCES[:20])
    distinct = len({tuple(s) for s in SENTENCES[:20]})
    assert sum(calls) == distinct and len(packs(tmp_path)) == 2


def test_another_model_has_its_own(tmp_path: Path) -> None:
    one, other = language_model(seed=1), language_model(seed=2)
    assert one.fingerprint() != other.fingerprint()
    with torch.no_grad():
        one.model.output.bias.add_(1)
    assert one.fingerprint() == language_model(seed=1).fingerprint()


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "index"])
def test_a_damaged_pack_is_computed_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make(tmp_path).get(SENTENCES).batch([3])
    (pack,) = packs(tmp_path)
    file = pack / ("index.npy" if damage == "index" else "values.npy")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-100] if damage == "cut" else content)
    calls = count_computed(monkeypatch)
    again = make(tmp_path).get(SENTENCES).batch([3])
    assert torch.equal(again.values, expected.values) and sum(calls) > 0
    assert "damaged" in capsys.readouterr().err


def test_the_longest_unused_packs_go(tmp_path: Path) -> None:
    words = [(f"a{number}",) * 200 for number in range(3)]
    make(tmp_path).get(words[:1])
    (first,) = packs(tmp_path)
    make(tmp_path).get(words[1:2])
    (second,) = set(packs(tmp_path)) - {first}
    long_ago = time.time() - 100
    os.utime(first, (long_ago - 1, long_ago - 1))
    os.utime(second, (long_ago, long_ago))
    make(tmp_path).get(words[:1])  # used again: now the second is the one unused for longest
    size = sum(file.stat().st_size for file in first.iterdir())
    make(tmp_path, limit_gib=2.5 * size / 2**30).get(words[2:])
    assert first.exists() and not second.exists() and len(packs(tmp_path)) == 2


def test_too_much_is_kept_in_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = make(tmp_path, limit_gib=1e-6)
    found = cache.get(SENTENCES[:5]).batch([0, 4])
    assert packs(tmp_path) == [] and "in memory only" in capsys.readouterr().err
    torch.testing.assert_close(found.rows()[1], represent(cache.encoder, [SENTENCES[4]])[0], rtol=0, atol=1e-6)


def test_far_too_much_is_computed_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_IN_MEMORY", 100)
    cache = make(tmp_path, limit_gib=1e-6)
    found = cache.get(SENTENCES[:5])
    assert "recomputed in every epoch" in capsys.readouterr().err
    torch.testing.assert_close(
        found.part(2, 5).batch([2]).rows()[0], represent(cache.encoder, [SENTENCES[4]])[0], rtol=0, atol=1e-6
    )


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "representations").write_text("a file where a folder must be")
    assert len(make(tmp_path).get(SENTENCES[:3]).batch([0, 1, 2]).rows()) == 3
    assert "cannot be stored" in capsys.readouterr().err


def test_limit_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_CACHE_LIMIT", "0.5")
    assert make(tmp_path).limit == 2**29
    monkeypatch.setenv("CARRYOVER_CACHE_LIMIT", "much")
    with pytest.raises(UsageError, match="CARRYOVER_CACHE_LIMIT is 'much'"):
        make(tmp_path)


def build(folder: str, slow: bool) -> None:
    """What another process does: compute all sentences, slowly if asked, so that it can be killed meanwhile."""
    torch.set_num_threads(1)
    if slow:
        original = cache_module.represent

        def waiting(*arguments):  # type: ignore[no-untyped-def]
            Path(folder, "computing").touch()
            time.sleep(60)
            return original(*arguments)

        cache_module.represent = waiting
    make(Path(folder)).get(SENTENCES)


def test_eight_at_once_build_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_computed(monkeypatch)
    caches = [make(tmp_path) for _ in range(8)]  # made in turn: they draw weights from one generator
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda cache: cache.get(SENTENCES).batch([1, 2]).values, caches))
    assert all(torch.equal(values, found[0]) for values in found)
    assert len(packs(tmp_path)) == 1 and sum(calls) == len({tuple(sentence) for sentence in SENTENCES})


@pytest.mark.slow
def test_eight_processes_build_one_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build, args=(str(tmp_path), False)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(packs(tmp_path)) == 1
    assert torch.isfinite(make(tmp_path).get(SENTENCES).batch(range(len(SENTENCES))).values).all()


def test_a_killed_builder_is_replaced(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=build, args=(str(tmp_path), True))
    process.start()
    for _ in range(600):
        if (tmp_path / "computing").exists():
            break
        time.sleep(0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(make(tmp_path).get(SENTENCES)) == len(SENTENCES)
    assert len(packs(tmp_path)) == 1
    assert not list(tmp_path.glob("representations/*/.*partial*")), "the dead builder's folder must be gone"
