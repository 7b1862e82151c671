"""State of long runs on disk, without pickle: trees of containers, and run folders from which a run resumes."""

from cyclestrain.storage.containers import decode, encode
from cyclestrain.storage.private_folder import PrivateFolder
from cyclestrain.storage.run_folder import Rehash, RunFolder, run_folder, run_key

__all__ = ["PrivateFolder", "Rehash", "RunFolder", "decode", "encode", "run_folder", "run_key"]
