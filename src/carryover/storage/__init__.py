"""Files that are whole or absent: atomic files and folders, manifests, locks, tensors without pickle, fingerprints.

A reader, or a process killed at any moment, meets the old content or the new one, never a part. Nothing here reads or
writes a pickle.
"""

from carryover.storage.faults import OutputFile, crash_point, flush, flush_folder, writing
from carryover.storage.files import (
    MANIFEST,
    atomic_file,
    atomic_folder,
    atomic_write,
    cache_folder,
    file_digest,
    is_temporary,
    read_json,
    recover_folder,
    remove_folder,
    replace_file,
    sweep,
    temporary_name,
    to_bytes,
    verify_manifest,
    write_all,
    write_file,
    write_manifest,
)
from carryover.storage.lock import LOCK, run_lock, write_lock
from carryover.storage.tensors import fingerprint, load_tensors, open_tensors, save_array, save_tensors

__all__ = [
    "LOCK", "MANIFEST", "OutputFile", "atomic_file", "atomic_folder", "atomic_write", "cache_folder", "crash_point", "file_digest", "fingerprint",
    "flush", "flush_folder", "is_temporary", "load_tensors", "open_tensors", "read_json", "recover_folder", "remove_folder",
    "replace_file", "run_lock", "save_array", "save_tensors", "sweep", "temporary_name", "to_bytes", "verify_manifest", "write_all",
    "write_file", "write_lock", "write_manifest", "writing",
]  # fmt: skip
