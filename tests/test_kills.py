"""kill -9 at any moment, inside the writing of a checkpoint too, loses no more than the work since the last one."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_fifty_kills_at_random_moments_change_nothing(tmp_path):
    script = Path(__file__).with_name("killed_training.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, tmp_path, "50"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 50 and found["inside"] >= 5, found
    assert found["at"][0] >= 1, found
    assert found["same"], found
    assert found["left"] == ["checkpoint.safetensors", "history.csv", "model.safetensors", "run.json"]
