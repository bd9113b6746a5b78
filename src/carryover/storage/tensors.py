"""Tensors on disk without pickle, and fingerprints of content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from carryover.errors import BadData, InputMissing
from carryover.escaping import printable
from carryover.storage.faults import OutputFile, flush
from carryover.storage.files import replace_file

if TYPE_CHECKING:
    import numpy
    import torch
    from torch import Tensor

_LARGEST_HEADER = 32 << 20


def _kinds() -> dict[torch.dtype, str]:
    """What the safetensors format calls the types of numbers."""
    import torch

    return {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
        torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.uint16: "U16",
    }  # fmt: skip


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` in the safetensors format, by rename. Raises CannotWrite, DiskFault.

    The file is written tensor by tensor (the writer of safetensors would hold a second copy of a whole checkpoint), widest
    numbers first so that all are aligned, in an order that depends on names only: equal tensors make equal bytes.
    """
    import torch

    kinds = _kinds()
    path = Path(path)
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name in names:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)

    def parts() -> Iterator[bytes | memoryview]:
        yield len(head).to_bytes(8, "little") + head
        for name in names:
            tensor = tensors[name].detach().cpu().contiguous()
            if tensor.numel():
                yield memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)

    replace_file(path, parts(), position + len(head) + 8)


def save_array(path: Path, array: numpy.ndarray[Any, Any]) -> None:
    """A new NPY file, without pickle. Raises OSError with the system's reason (NumPy's own writing hides it); see `writing`."""
    import numpy

    with OutputFile(path) as file:
        numpy.save(file, array, allow_pickle=False)
        flush(file.fileno())


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in private memory (not mapped: later changes of the file cannot reach them).

    They are read one by one into fresh memory, which is all the memory it takes; safetensors looks only at the header.
    Raises InputMissing, or BadData when the file is cut short, its header is larger than 32 MiB or anything disagrees.
    """
    import safetensors

    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = int.from_bytes(file.read(8), "little")
            if size < 8 or header > min(size - 8, _LARGEST_HEADER):
                raise BadData(
                    f"is not a whole safetensors file: its header claims {header} bytes, the file has {size}",
                    path=path,
                    repair="restore it from a copy; other formats are never tried",
                )
            with open_tensors(path, "pt"):
                pass  # raises where names, types, shapes and places do not fit together and the file
            entries = json.loads(file.read(header))
            entries.pop("__metadata__", None)
            return {name: _read_tensor(file, 8 + header, entry) for name, entry in entries.items()}
    except OSError as error:
        raise InputMissing(f"cannot be read: {error.strerror or error}", path=path, repair="check the path") from error
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise BadData(f"is not a sound safetensors file: {error}", path=path, repair="restore it from a copy") from error


@contextmanager
def open_tensors(path: Path, framework: str) -> Iterator[Any]:
    """A safetensors file, opened by its name, or by its descriptor where the name is not UTF-8, which safetensors cannot open.

    Raises OSError, safetensors.SafetensorError.
    """
    import safetensors

    with path.open("rb") as file:
        os.close(os.dup(file.fileno()))  # safetensors would report a missing file when no more files can be opened
        name = str(path) if printable(path) == str(path) else f"/dev/fd/{file.fileno()}"
        with safetensors.safe_open(name, framework=framework) as stored:
            yield stored


def _read_tensor(file: BinaryIO, start: int, entry: Mapping[str, Any]) -> Tensor:
    """The tensor of one entry of a header, whose data begin at `start`. Raises ValueError, KeyError, RuntimeError."""
    import torch

    types = {name: dtype for dtype, name in _kinds().items()}
    if entry["dtype"] not in types:
        raise ValueError(f"numbers of type {entry['dtype']} cannot be read")
    # Fresh memory lies where PyTorch lays tensors; a matrix product may round otherwise where it begins elsewhere.
    tensor = torch.empty(entry["shape"], dtype=types[entry["dtype"]])
    first, stop = entry["data_offsets"]
    if tensor.numel():
        target = memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
        file.seek(start + first)
        if stop - first != len(target) or file.readinto(target) != len(target):  # type: ignore[attr-defined]
            raise ValueError(f"{stop - first} bytes do not fit a tensor of shape {entry['shape']}")
    return tensor


def fingerprint(*parts: str | bytes | Tensor | numpy.ndarray[Any, Any]) -> str:
    """SHA-256, hexadecimal, over the parts with their kinds, types and shapes; tensors and arrays of equal content agree."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str | bytes):
            kind, data = (
                type(part).__name__,
                memoryview(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part),
            )
        else:
            if not hasattr(part, "tobytes"):  # a tensor; bfloat16 has no numpy type, so the bytes are viewed as integers
                import torch

                flat = part.detach().cpu().contiguous()
                kind = f"{str(flat.dtype).removeprefix('torch.')}{list(flat.shape)}"
                data = memoryview(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
            else:
                kind, data = f"{part.dtype}{list(part.shape)}", memoryview(part.tobytes())
        digest.update(f"{kind}:{data.nbytes}:".encode())
        digest.update(data)
    return digest.hexdigest()
