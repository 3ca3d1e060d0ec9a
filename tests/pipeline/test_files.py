"""Files that are removed so that nothing is left of them."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.files import CHUNK, shred


def test_what_is_shredded_is_zeros_in_the_blocks_that_become_free(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(content := os.urandom(CHUNK + 7))
    other.hardlink_to(path)  # whoever looks into the blocks
    shred(path)
    assert not path.exists()
    assert other.read_bytes() == bytes(len(content))
    shred(path)  # somebody else was faster
