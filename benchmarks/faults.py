"""A campaign of faults: disturb renders and trainings at random, and check that nothing is lost and nothing is wrong.

    make faults           # or: python benchmarks/faults.py [--seed N] [--minutes 10] [--only render|train] [--sequence 17]

A sequence is some operations on one folder: commands that are killed, signalled, starved of disk, locks and links, raced
against others; files that are damaged, swapped or put there by others. At its end one undisturbed command must leave a whole
result, byte for byte that of a run which nobody disturbed. What is done follows from the seed and the number of the sequence;
at which moment a signal arrives follows from the machine, too.
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
#: Of three sequences the last is one of training.
KINDS = ("render", "render", "train")


def site_of(kind, root, folder, rng):
    """The place of a sequence."""
    if kind == "render":
        return faults_render.RenderSite(root, folder, rng)
    import faults_train

    return faults_train.TrainSite(root, folder, rng)


def run_sequence(seed, number, root):
    """Run one sequence.

    Returns:
        Its site, and the seconds it took.
    """
    kind = KINDS[number % len(KINDS)]
    folder = root / f"sequence-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    site = site_of(kind, root, folder, random.Random(f"{seed} {number}"))
    site.run()
    return site, time.monotonic() - begin


def campaign(seed, numbers, minutes, root, keep=False, say=print):
    """Run sequences until the time is over.

    Returns:
        number → site.
    """
    sites, begin = {}, time.monotonic()
    bar = tqdm(total=round(minutes * 60), unit="s", ncols=WIDTH, file=sys.stderr, disable=not sys.stderr.isatty(),
               bar_format="{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s, {remaining} left")  # fmt: skip
    for number in numbers:
        if time.monotonic() - begin > minutes * 60:
            break
        bar.set_description_str(f"sequence {number}")
        sites[number], seconds = run_sequence(seed, number, root)
        bar.update(min(time.monotonic() - begin, bar.total) - bar.n)
        bar.clear()
        say(describe(number, sites[number], seconds))
        sys.stdout.flush()
        if not keep and not sites[number].failures:
            shutil.rmtree(root / f"sequence-{number}", ignore_errors=True)
    bar.close()
    return sites


def describe(number, site, seconds):
    """A line for a sequence, and one more for each failure."""
    outcome = "FAILED" if site.failures else "ok"
    head = f"{number:4d} {KINDS[number % len(KINDS)]:6} {outcome:6} {seconds:5.1f} s  "
    lines = textwrap.wrap(", ".join(site.done), WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    for failure in dict.fromkeys(site.failures):
        lines += textwrap.wrap(failure, WIDTH, initial_indent="     ! ", subsequent_indent="       ")
    return "\n".join(lines)


def summary(sites):
    """Tables: what was injected, and what was found."""
    injected, runs, failed = Counter(), Counter(), defaultdict(list)
    for number, site in sites.items():
        injected.update(site.faults)
        runs.update(site.faults.keys())
        for failure in dict.fromkeys(site.failures):
            failed[failure.split(":")[0]].append(number)
    lines = ["", f"{'fault':34}{'injected':>10}{'sequences':>11}{'of them failed':>16}"]
    for name in sorted(injected):
        count = sum(bool(site.failures) for site in sites.values() if site.faults[name])
        lines.append(f"{name:34}{injected[name]:10d}{runs[name]:11d}{count:16d}")
    bad = sum(bool(site.failures) for site in sites.values())
    lines += ["", f"{len(sites)} sequences, {sum(injected.values())} faults, {bad} sequences failed."]
    for name, numbers in sorted(failed.items(), key=lambda item: -len(item[1])):
        text = f"{name}: {len(numbers)} of them: {', '.join(map(str, numbers))}"
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the campaign (default: 0)")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no sequence begins (default: 10)")
    parser.add_argument("--only", choices=("render", "train"), help="sequences of one kind")
    parser.add_argument("--sequence", type=int, metavar="NUMBER", help="one sequence alone")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all folders, in this one; those that failed, always")
    given = parser.parse_args(words)
    root = given.keep or Path(tempfile.mkdtemp(prefix="synvid-faults-"))
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    wanted = (number for number in range(1_000_000) if given.only in (None, KINDS[number % len(KINDS)]))
    faults_render.prepare(root)
    numbers = wanted if given.sequence is None else [given.sequence]
    sites = campaign(given.seed, numbers, given.minutes, root, given.keep is not None)
    print(summary(sites))
    failed = any(site.failures for site in sites.values())
    if failed:
        print(f"The folders of sequences that failed are in {root}.")
    elif given.keep is None:
        shutil.rmtree(root)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
