"""All benches one after the other, each in a process of its own: `make bench`. Exit code 1 where a gate failed."""

from __future__ import annotations

import subprocess
import sys

BENCHES = ("nms", "hop", "startup", "graph", "memory", "search", "commit", "gate_ages", "page_delay", "open_pages")


def main() -> int:
    """Run them all, also after one that failed."""
    codes = [subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode for name in BENCHES]
    failed = [name for name, code in zip(BENCHES, codes, strict=True) if code]
    if failed:
        print(f"bench: failed in {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
