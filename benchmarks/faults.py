"""Fault campaign: disturb renders and trainings at random, and check that the results are complete and correct.

    make faults           # or: python benchmarks/faults.py [--seed N] [--minutes 10] [--only render|train] [--sequence 17]

A sequence is a number of operations on one folder: commands are killed, get signals, run on a full disk or without locks and
links, or run at the same time; files are damaged, swapped or added. After each sequence one undisturbed command must give the
bytes of an undisturbed run. The seed and the number of a sequence determine its operations; the timing of signals also depends
on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter, defaultdict
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # processes are forked, which threads do not survive

import faults_render  # noqa: E402
from tqdm import tqdm  # noqa: E402

WIDTH = 80
#: Kinds of sequences, in turn.
KINDS = ("render", "render", "train")


def make_scenario(kind, root, folder, rng):
    """Make the scenario of a sequence."""
    if kind == "render":
        return faults_render.RenderScenario(root, folder, rng)
    import faults_train

    return faults_train.TrainScenario(root, folder, rng)


def run_sequence(seed, number, root):
    """Run one sequence.

    Returns:
        The scenario, and the duration in seconds.
    """
    kind = KINDS[number % len(KINDS)]
    folder = root / f"sequence-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    scenario = make_scenario(kind, root, folder, random.Random(f"{seed} {number}"))
    scenario.run()
    return scenario, time.monotonic() - begin


def campaign(seed, numbers, minutes, root, keep=False, report=print):
    """Run sequences for some minutes.

    Returns:
        number → scenario.
    """
    scenarios, begin = {}, time.monotonic()
    bar = tqdm(total=round(minutes * 60), unit="s", ncols=WIDTH, file=sys.stderr, disable=not sys.stderr.isatty(),
               bar_format="{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s, {remaining} left")  # fmt: skip
    for number in numbers:
        if time.monotonic() - begin > minutes * 60:
            break
        bar.set_description_str(f"sequence {number}")
        scenarios[number], seconds = run_sequence(seed, number, root)
        bar.update(min(time.monotonic() - begin, bar.total) - bar.n)
        bar.clear()
        report(describe(number, scenarios[number], seconds))
        sys.stdout.flush()
        if not keep and not scenarios[number].failures:
            shutil.rmtree(root / f"sequence-{number}", ignore_errors=True)
    bar.close()
    return scenarios


def describe(number, scenario, seconds):
    """Describe a sequence: its operations, and a line for each failure."""
    outcome = "FAILED" if scenario.failures else "ok"
    head = f"{number:4d} {KINDS[number % len(KINDS)]:6} {outcome:6} {seconds:5.1f} s  "
    lines = textwrap.wrap(", ".join(scenario.done), WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    for failure in dict.fromkeys(scenario.failures):
        lines += textwrap.wrap(failure, WIDTH, initial_indent="     ! ", subsequent_indent="       ")
    return "\n".join(lines)


def summarize(scenarios):
    """Summarize the injected faults and the failures in tables."""
    injected, runs, failed = Counter(), Counter(), defaultdict(list)
    for number, scenario in scenarios.items():
        injected.update(scenario.faults)
        runs.update(scenario.faults.keys())
        for failure in dict.fromkeys(scenario.failures):
            failed[failure.split(":")[0]].append(number)
    lines = ["", f"{'fault':34}{'injected':>10}{'sequences':>11}{'of them failed':>16}"]
    for name in sorted(injected):
        count = sum(bool(scenario.failures) for scenario in scenarios.values() if scenario.faults[name])
        lines.append(f"{name:34}{injected[name]:10d}{runs[name]:11d}{count:16d}")
    bad = sum(bool(scenario.failures) for scenario in scenarios.values())
    lines += ["", f"{len(scenarios)} sequences, {sum(injected.values())} faults, {bad} sequences failed."]
    for name, numbers in sorted(failed.items(), key=lambda item: -len(item[1])):
        text = f"{name}: {len(numbers)} of them: {', '.join(map(str, numbers))}"
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="random seed of the campaign (default: 0)")
    parser.add_argument("--minutes", type=float, default=10.0, help="start no sequence after this time (default: 10)")
    parser.add_argument("--only", choices=("render", "train"), help="run only sequences of one kind")
    parser.add_argument("--sequence", type=int, metavar="NUMBER", help="run only this sequence")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep the folders of all sequences, here; those of failed ones are always kept",
    )
    options = parser.parse_args(args)
    root = options.keep or Path(tempfile.mkdtemp(prefix="synvid-faults-"))
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    wanted = (number for number in range(1_000_000) if options.only in (None, KINDS[number % len(KINDS)]))
    faults_render.prepare(root)
    numbers = wanted if options.sequence is None else [options.sequence]
    scenarios = campaign(options.seed, numbers, options.minutes, root, options.keep is not None)
    print(summarize(scenarios))
    failed = any(scenario.failures for scenario in scenarios.values())
    if failed:
        print(f"The folders of sequences that failed are in {root}.")
    elif options.keep is None:
        shutil.rmtree(root)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
