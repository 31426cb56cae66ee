"""Tables in files without a name: memory that the system may take back, and that is gone with the process."""

import math
import os
import tempfile

import torch
from torch import Tensor

from engine.files import file_errors


def mapped_table(*shape: int) -> Tensor:
    """A float32 tensor of a shape that lies in a file of its own, in the folder that TMPDIR names.

    Raises SceneError where there is no room for it.
    """
    count = math.prod(shape)
    if not count:
        return torch.empty(shape)
    cure = " Name a folder with more room: TMPDIR=FOLDER."
    with (
        file_errors(f"{4 * count / 2**20:.0f} MiB of clips cannot be kept in {tempfile.gettempdir()}", cure=cure),
        tempfile.NamedTemporaryFile(prefix="lockstep_clips_") as file,
    ):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, 4 * count)  # a full disk is met here, and not when it is written to
        else:
            file.truncate(4 * count)
        return torch.from_file(file.name, shared=True, size=count).view(shape)
