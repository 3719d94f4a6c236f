"""Determinism: (preset, seed, index) identifies one clip, bit for bit, on every machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest
from conftest import needs_x86


@pytest.mark.parametrize("name", golden.CASES)
def test_golden_case(name):
    """The frames of every golden case have the recorded hash and statistics."""
    case = golden.CASES[name]
    assert golden.describe_clip(golden.render_case(case)) == case["expected"]


@pytest.mark.parametrize("name", [name for name in golden.CASES if not name.startswith("large")])
def test_golden_case_frame_by_frame(name):
    """Rendering the frames one at a time, last to first, gives the same hash."""
    case = golden.CASES[name]
    assert golden.hash_single_frames(case) == case["expected"]["sha256"]


TARGETS = {
    "plain": {"SYNVID_SIMD": "0"},
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "nehalem": {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["plain", "generic", *(pytest.param(name, marks=needs_x86) for name in ("nehalem", "haswell"))]
)
def test_golden_cases_on_other_cpu_targets(target):
    """Code for SSE2, for SSE4, for AVX2 with FMA, and without vector code gives the same frames of every golden case."""
    features = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    if target == "haswell" and "avx2" not in features:
        pytest.skip("this CPU cannot run AVX2 code")
    environment = {**os.environ, **TARGETS[target], "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, golden.__file__], capture_output=True, text=True, env=environment, check=True)
    answer = json.loads(run.stdout)
    assert answer["hashes"] == {name: case["expected"]["sha256"] for name, case in golden.CASES.items()}
    assert answer["vector"] == (target != "plain")
