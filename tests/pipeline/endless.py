"""A run without end, for a test to kill: prints its processes' ids once they work or, told so, once they start."""

import json
import sys
from pathlib import Path

from pipeline.briefing import EngineConfig
from pipeline.graph import Source
from pipeline.metrics import Counter
from pipeline.supervise import Supervisor
from tests.pipeline.parts import CountConfig, LookConfig, NameConfig, WriteConfig
from tests.pipeline.test_engine import GRAPH

folder = Path(sys.argv[1])
settings = {
    "Count": CountConfig(frames=10**9),
    "Look": LookConfig(),
    "Name": NameConfig(),
    "Write": WriteConfig(path=str(folder / "lines")),
}
with Supervisor(GRAPH, [Source("a", "a", False)], settings, EngineConfig(), folder / "log.jsonl") as supervisor:
    told = False
    while supervisor.step(0.05):
        if not told and (sys.argv[2:] == ["start"] or supervisor.children[-1].page.get(Counter.SENT) > 10):
            pids = [child.running.pid for child in supervisor.children if child.running]
            print(json.dumps({"pids": pids, "run": str(supervisor.run.path)}), flush=True)
            told = True
