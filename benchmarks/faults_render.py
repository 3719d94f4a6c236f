"""Sequences of disturbed renders: operations on one folder, and the final check."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faults_process import CONDITIONS, SIGNALS, Process, live_processes, start

import synvid
from synvid.cli.main import main
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import render_clip

#: Small datasets: layout, number of clips, clips per shard.
SHAPES = [("tar", 12, 2), ("tar", 23, 3), ("files", 12, 3)]
TINY = {"video.width": 32, "video.height": 32, "objects.count": 3, "video.num_frames_range": [4, 8]}
STATE = ".synvid"
NOTE = "\nChecked by hand; licence CC-BY.\n"


def prepare(root: Path) -> None:
    """Write the preset and compile the kernels for all sequences."""
    preset = synvid.load_preset("moving_circles", TINY)
    (root / "tiny.yaml").write_text(preset.to_yaml())
    recipe = DatasetRecipe(synvid.load_preset(str(root / "tiny.yaml")), 1, 0)
    render_clip(recipe, 0, recipe.make_encoder())


def contents(folder: Path) -> dict[str, bytes]:
    """Read the files of a dataset, without temporary ones: name → bytes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not any(part.startswith("tmp-") for part in path.parts)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def record_files(record: bytes) -> list[str]:
    """Return the names of a shard's files from its record."""
    return [file["path"] for file in json.loads(record.splitlines()[0])["files"]]


class RenderScenario:
    """A sequence of disturbed renders in one folder.

    Attributes:
        out: folder of the dataset.
        faults: kind of fault → number of injections.
        failures: failures that were found.
        done: operations, in order.
    """

    def __init__(self, root: Path, folder: Path, rng: random.Random) -> None:
        self.root, self.rng = root, rng
        self.folder, self.out = folder, folder / "out"
        self.layout, self.n, self.shard_size = rng.choice(SHAPES)
        self.shards = -(-self.n // self.shard_size)
        self.faults: Counter[str] = Counter()
        self.failures: list[str] = []
        self.done: list[str] = []
        self.user_files: dict[str, bytes] = {}
        self.groups: set[int] = set()
        self.flipped = self.card = self.had_no_locks = False

    # ---- Commands ---------------------------------------------------------------------------------------------------
    def command(self, seed: int, out: Path, *more: str) -> list[str]:
        """Return the arguments that render the dataset of a seed."""
        args = ["render", "--preset", str(self.root / "tiny.yaml"), "--n", str(self.n), "--seed", str(seed)]
        args += ["--shard-size", str(self.shard_size), "--format", self.layout, "--out", str(out)]
        return [*args, "--workers", str(self.rng.choice((1, 1, 2))), *more]

    def start(self, args: list[str], conditions: dict[str, int] | None = None) -> Process:
        """Start a command under faulty conditions."""
        self.faults.update(list(conditions or {}))
        self.had_no_locks |= "no locks" in (conditions or {})
        process = start(main, args, conditions)
        self.groups.add(process.pid)
        return process

    def finish(self, process: Process) -> Process:
        """Wait for a command and check how it ended."""
        process.finish()
        process.write_log(self.folder)
        wrong = process.problem()
        if wrong:
            self.failures.append(f"{process.args[0]}: {wrong}")
        return process

    def conditions(self, chance: float = 0.4) -> dict[str, int]:
        """Choose a condition with its random seed, or none."""
        return {self.rng.choice(list(CONDITIONS)): self.rng.randrange(1 << 30)} if self.rng.random() < chance else {}

    def disturb(self, process: Process) -> None:
        """Send a signal to a command at a random moment, in most cases."""
        if self.rng.random() < 0.8:
            name = self.rng.choice(list(SIGNALS))
            if not process.wait(self.rng.random() * 0.2):
                process.send(*SIGNALS[name])
                self.faults[name] += 1
                self.done[-1] += f" {name}"

    def intact_shards(self) -> dict[str, int]:
        """Return the finished shards that equal those of the reference: name of the record → seed."""
        seed = self.current_seed()
        if seed is None:
            return {}
        shards, expected = {}, self.reference(seed)
        for record in (self.out / STATE).glob("shard-*.json"):
            try:
                files = record_files(record.read_bytes())
                if files and all((self.out / name).read_bytes() == expected[name] for name in files):
                    shards[record.name] = seed
            except (OSError, ValueError, LookupError, TypeError):
                continue
        return shards

    def current_seed(self) -> int | None:
        """Return the seed of the dataset in the folder; None without a dataset."""
        return DatasetRecipe.load(self.out).seed if (self.out / "synvid.yaml").is_file() else None

    def reference(self, seed: int) -> dict[str, bytes]:
        """Return the files of the undisturbed dataset, which is rendered on first use."""
        folder = self.root / "references" / f"{self.layout}-{self.n}-{self.shard_size}-{seed}"
        if not folder.exists():
            process = start(main, self.command(seed, folder))
            process.finish()
            if process.code != 0:
                raise SystemExit(f"an undisturbed render failed: {process.stderr}")
        return contents(folder)

    def check_keeps_shards(self, act: Callable[[], None]) -> None:
        """Perform an action, and check that no finished shard is lost."""
        before = self.intact_shards()
        act()
        if live_processes(self.groups):
            self.failures.append("processes are still running")
        lost = before.keys() - self.intact_shards().keys()
        if lost:
            self.failures.append(f"finished shards lost: {self.done[-1]}")

    # ---- Sequence -----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Perform some operations and the final check."""
        for step in range(self.rng.randrange(3, 8)):
            operation = self.rng.choice(OPERATIONS if step else OPERATIONS[:4])
            self.done.append(operation.__name__)
            operation(self)
        self.check()

    def check(self) -> None:
        """Check that an undisturbed render completes the dataset, and that files of the user are unchanged."""
        if live_processes(self.groups):
            self.failures.append("processes are still running")
        if self.flipped:  # changes of bytes that keep the size are found only by reading
            self.finish(self.start(["verify", str(self.out)]))
        seed = self.current_seed()
        args = (
            self.command(1, self.out)
            if seed is None
            else ["render", "--recipe", f"{self.out}/synvid.yaml", "--out", str(self.out)]
        )
        final = self.finish(self.start(args))
        if final.code != 0:
            self.failures.append(f"the last render fails: {final.stderr.strip()[-150:]}")
            return
        self._compare(seed or 1)
        for command in (["verify", str(self.out)], ["status", str(self.out)]):
            process = self.finish(self.start(command))
            if process.code != 0 and not (self.card and "README.md" in process.stderr):
                self.failures.append(f"{command[0]} of the finished dataset: {process.stderr.strip()[-150:]}")
        for name, data in self.user_files.items():
            if not (self.out / name).is_file() or (self.out / name).read_bytes() != data:
                self.failures.append("a file of the user is missing or changed")
        if self.card and not any(NOTE.encode() in path.read_bytes() for path in self.out.glob("README*")):
            self.failures.append("the edited card is missing")
        if not self.had_no_locks and list((self.out / STATE).glob("tmp-*")):
            self.failures.append("workspaces of killed runs are left")

    def _compare(self, seed: int) -> None:
        actual, expected = contents(self.out), self.reference(seed)
        own = {name for name in actual if not name.startswith("README")} - self.user_files.keys()
        wanted = {name for name in expected if not name.startswith("README")}
        if own - wanted:
            self.failures.append(f"unexpected files: {', '.join(sorted(own - wanted)[:3])}")
        if wanted - own:
            self.failures.append(f"files are missing: {', '.join(sorted(wanted - own)[:3])}")
        different = sorted(name for name in wanted & own if actual[name] != expected[name])
        if different:
            self.failures.append(f"differs from the undisturbed dataset: {', '.join(different[:3])}")
        if not self.card and actual.get("README.md") != expected["README.md"]:
            self.failures.append("the card differs from the undisturbed one")


# ---- Operations -----------------------------------------------------------------------------------------------------
def render(scenario: RenderScenario) -> None:
    """Render, possibly under a condition and until a signal."""

    def act() -> None:
        process = scenario.start(scenario.command(1, scenario.out), scenario.conditions())
        scenario.disturb(process)
        scenario.finish(process)

    scenario.check_keeps_shards(act)


def render_parts(scenario: RenderScenario) -> None:
    """Render two parts into one folder at the same time; one may be disturbed."""

    def act() -> None:
        both = [
            scenario.start(scenario.command(1, scenario.out, "--part", f"{i}/2"), scenario.conditions(0.3)) for i in range(2)
        ]
        scenario.disturb(scenario.rng.choice(both))
        for process in both:
            scenario.finish(process)

    scenario.faults["two parts at once"] += 1
    scenario.check_keeps_shards(act)


def merge(scenario: RenderScenario) -> None:
    """Render two parts into other folders and merge them; the merge may be disturbed."""

    def act() -> None:
        for i in range(2):
            scenario.finish(scenario.start(scenario.command(1, scenario.folder / f"part{i}", "--part", f"{i}/2")))
        process = scenario.start(
            ["merge", str(scenario.out), *(str(scenario.folder / f"part{i}") for i in range(2))], scenario.conditions()
        )
        scenario.disturb(process)
        scenario.finish(process)

    scenario.faults["merge"] += 1
    scenario.check_keeps_shards(act)


def race(scenario: RenderScenario) -> None:
    """Render two recipes into one folder at the same time, possibly with --overwrite."""
    running = []
    for seed in scenario.rng.sample((1, 2), 2):
        more = ["--overwrite"] if scenario.rng.random() < 0.5 else []
        slow = {"slow disk": scenario.rng.randrange(1 << 30)} | scenario.conditions(0.2)
        running.append(scenario.start(scenario.command(seed, scenario.out, *more), slow))
        time.sleep(scenario.rng.random() * 0.3)
    scenario.faults["two recipes at once"] += 1
    for process in running:
        scenario.finish(process)
    scenario.card &= _has_note(scenario.out)  # --overwrite with another recipe may remove the card


def overwrite(scenario: RenderScenario) -> None:
    """Run --overwrite with the recipe in the folder, which continues it; for a part it is rejected."""

    def act() -> None:
        more = ["--part", "0/2"] if scenario.rng.random() < 0.3 else []
        process = scenario.start(
            scenario.command(scenario.current_seed() or 1, scenario.out, "--overwrite", *more), scenario.conditions(0.2)
        )
        scenario.disturb(process)
        scenario.finish(process)

    scenario.faults["overwrite"] += 1
    scenario.check_keeps_shards(act)


def verify(scenario: RenderScenario) -> None:
    """Verify, possibly until a signal."""
    process = scenario.start(
        ["verify", str(scenario.out), *(["--rerender"] if scenario.rng.random() < 0.3 else [])], scenario.conditions(0.2)
    )
    scenario.disturb(process)
    scenario.finish(process)


def damage_shard(scenario: RenderScenario) -> None:
    """Change, truncate or remove a file of a shard."""
    found = [path for name in ("train", "videos") for path in sorted((scenario.out / name).rglob("*")) if path.is_file()]
    found = [path for path in found if path.relative_to(scenario.out).as_posix() not in scenario.user_files]
    if found:
        path, how = scenario.rng.choice(found), scenario.rng.choice(("flip", "cut", "remove"))
        _damage(scenario, path, how)
        scenario.flipped |= how == "flip"


def damage_record(scenario: RenderScenario) -> None:
    """Truncate, remove or change the record of a shard."""
    found = sorted((scenario.out / STATE).glob("shard-*.json"))
    if found:
        path, how = (
            scenario.rng.choice(found),
            scenario.rng.choice(("cut", "remove", "no row key", "path outside", "rows swapped")),
        )
        _damage(scenario, path, how)


def damage_manifest(scenario: RenderScenario) -> None:
    """Change, truncate or remove an index file."""
    found = [
        path for name in ("manifest.jsonl", "metadata.jsonl", "lists/videomae.csv") if (path := scenario.out / name).is_file()
    ]
    if found:
        _damage(scenario, scenario.rng.choice(found), scenario.rng.choice(("flip", "cut", "remove", "lines swapped")))


def swap_in_shard_of_other_seed(scenario: RenderScenario) -> None:
    """Replace a shard and its record by those of another seed."""
    seed, shard = scenario.current_seed(), scenario.rng.randrange(scenario.shards)
    if seed is not None:
        other = scenario.reference(3 - seed)
        record = f"{STATE}/shard-{shard:06d}.json"
        for name in (record, *record_files(other[record])):
            (scenario.out / name).parent.mkdir(parents=True, exist_ok=True)
            (scenario.out / name).write_bytes(other[name])
        scenario.faults["foreign shard"] += 1


def add_user_file(scenario: RenderScenario) -> None:
    """Add a file of the user."""
    if scenario.current_seed() is not None:
        name = scenario.rng.choice(
            ("notes.txt", "train/notes.txt", "lists/mine.csv", f"{STATE}/notes.txt", "videos/notes.txt")
        )
        (scenario.out / name).parent.mkdir(parents=True, exist_ok=True)
        scenario.user_files[name] = f"mine {scenario.rng.random()}".encode()
        (scenario.out / name).write_bytes(scenario.user_files[name])
        scenario.faults["file of the user"] += 1


def edit_card(scenario: RenderScenario) -> None:
    """Add a line to the dataset card."""
    path = scenario.out / "README.md"
    if path.is_file():
        path.write_text(path.read_text() + NOTE)
        scenario.card = True
        scenario.faults["edited card"] += 1


OPERATIONS = [
    render, render_parts, merge, race, overwrite, verify, damage_shard, damage_record, damage_manifest,
    swap_in_shard_of_other_seed, add_user_file, edit_card, render, render_parts,
]  # fmt: skip


def _has_note(out: Path) -> bool:
    return any(NOTE.encode() in path.read_bytes() for path in out.glob("README*"))


def _damage(scenario: RenderScenario, path: Path, how: str) -> None:
    """Damage a file, see the callers for the ways."""
    data = path.read_bytes()
    if how == "remove":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: scenario.rng.randrange(len(data) or 1)])
    elif how == "flip":
        offset = scenario.rng.randrange(len(data) or 1)
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
    elif how == "lines swapped":
        lines = data.splitlines(keepends=True)
        path.write_bytes(b"".join(reversed(lines)))
    else:
        _damage_rows(scenario, path, how)
    scenario.faults[f"damaged: {how}"] += 1
    scenario.done[-1] += f" {how}"


def _damage_rows(scenario: RenderScenario, path: Path, how: str) -> None:
    """Change a record so that it is still JSON."""
    try:
        head, *rows = (json.loads(line) for line in path.read_bytes().splitlines())
        if how == "no row key":
            row = scenario.rng.choice(rows)
            row.pop(scenario.rng.choice(sorted(row)))
        elif how == "path outside":
            scenario.rng.choice(head["files"])["path"] = "../../tiny.yaml"
        else:
            rows.reverse()
    except (ValueError, KeyError, IndexError):  # damaged before
        return
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))
