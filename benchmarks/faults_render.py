"""Disturbing renders: operations on one folder, and the check of what is left of it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faults_process import CONDITIONS, FATES, Process, left_alive, start

import synvid
from synvid.cli.main import main
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import render_clip

#: What a small dataset may be: layout, clips, clips in a shard.
SHAPES = [("tar", 12, 2), ("tar", 23, 3), ("files", 12, 3)]
TINY = {"video.width": 32, "video.height": 32, "objects.count": 3, "video.num_frames_range": [4, 8]}
STATE = ".synvid"
NOTE = "\nChecked by hand; licence CC-BY.\n"


def prepare(root: Path) -> None:
    """Write the preset and compile the kernels, once for all sequences."""
    preset = synvid.load_preset("moving_circles", TINY)
    (root / "tiny.yaml").write_text(preset.to_yaml())
    recipe = DatasetRecipe(synvid.load_preset(str(root / "tiny.yaml")), 1, 0)
    render_clip(recipe, 0, recipe.make_encoder())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a dataset but for temporary ones of its own: name → bytes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not any(part.startswith("tmp-") for part in path.parts)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def files_of(record: bytes) -> list[str]:
    """The names of a shard's files, from its record: a line about the shard, and one a clip."""
    return [file["path"] for file in json.loads(record.splitlines()[0])["files"]]


class RenderSite:
    """A folder that renders are disturbed in.

    Attributes:
        out: the folder.
        faults: kind → how often it was injected.
        failures: what was found to be wrong.
        done: what was done, in order.
    """

    def __init__(self, root: Path, folder: Path, rng: random.Random) -> None:
        self.root, self.rng = root, rng
        self.folder, self.out = folder, folder / "out"
        self.layout, self.n, self.shard_size = rng.choice(SHAPES)
        self.shards = -(-self.n // self.shard_size)
        self.faults: Counter[str] = Counter()
        self.failures: list[str] = []
        self.done: list[str] = []
        self.strangers: dict[str, bytes] = {}
        self.groups: set[int] = set()
        self.flipped = self.card = self.lockless = False

    # ---- Commands ---------------------------------------------------------------------------------------------------
    def line(self, seed: int, out: Path, *more: str) -> list[str]:
        """The command that renders the dataset of a seed."""
        words = ["render", "--preset", str(self.root / "tiny.yaml"), "--n", str(self.n), "--seed", str(seed)]
        words += ["--shard-size", str(self.shard_size), "--format", self.layout, "--out", str(out)]
        return [*words, "--workers", str(self.rng.choice((1, 1, 2))), *more]

    def start(self, words: list[str], conditions: dict[str, int] | None = None) -> Process:
        """Start a command under some conditions."""
        self.faults.update(list(conditions or {}))
        self.lockless |= "no locks" in (conditions or {})
        process = start(main, words, conditions)
        self.groups.add(process.pid)
        return process

    def finish(self, process: Process) -> Process:
        """Wait for a command and judge how it ended."""
        process.finish()
        process.note(self.folder)
        wrong = process.wrong()
        if wrong:
            self.failures.append(f"{process.words[0]}: {wrong}")
        return process

    def conditions(self, chance: float = 0.4) -> dict[str, int]:
        """A condition, perhaps, with its seed."""
        return {self.rng.choice(list(CONDITIONS)): self.rng.randrange(1 << 30)} if self.rng.random() < chance else {}

    def disturb(self, process: Process) -> None:
        """Send a command a signal at a random moment, perhaps."""
        if self.rng.random() < 0.8:
            name = self.rng.choice(list(FATES))
            if not process.wait(self.rng.random() * 0.2):
                process.send(*FATES[name])
                self.faults[name] += 1
                self.done[-1] += f" {name}"

    def intact(self) -> dict[str, int]:
        """Finished shards of the folder that equal the reference's: record → time of change."""
        seed = self.seed_there()
        if seed is None:
            return {}
        whole, found = {}, self.reference(seed)
        for record in (self.out / STATE).glob("shard-*.json"):
            try:
                files = files_of(record.read_bytes())
                if files and all((self.out / name).read_bytes() == found[name] for name in files):
                    whole[record.name] = seed
            except (OSError, ValueError, LookupError, TypeError):
                continue
        return whole

    def seed_there(self) -> int | None:
        """The seed of the dataset in the folder; None if there is none."""
        return DatasetRecipe.load(self.out).seed if (self.out / "synvid.yaml").is_file() else None

    def reference(self, seed: int) -> dict[str, bytes]:
        """The files of the undisturbed dataset."""
        place = self.root / "references" / f"{self.layout}-{self.n}-{self.shard_size}-{seed}"
        if not place.exists():
            process = start(main, self.line(seed, place))
            process.finish()
            if process.code != 0:
                raise SystemExit(f"an undisturbed render failed: {process.said}")
        return contents(place)

    def keeps(self, act: Callable[[], None]) -> None:
        """Do something that must not lose a finished shard of the recipe in the folder."""
        before = self.intact()
        act()
        if left_alive(self.groups):
            self.failures.append("processes were left behind")
        lost = before.keys() - self.intact().keys()
        if lost:
            self.failures.append(f"finished shards lost: {self.done[-1]}")

    # ---- The whole ----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Some operations, and the check."""
        for place in range(self.rng.randrange(3, 8)):
            operation = self.rng.choice(OPERATIONS if place else OPERATIONS[:4])
            self.done.append(operation.__name__)
            operation(self)
        self.check()

    def check(self) -> None:
        """An undisturbed render of what is in the folder makes it whole, and the files of others are there."""
        if left_alive(self.groups):
            self.failures.append("processes were left behind")
        if self.flipped:  # bytes that changed without their number are found by reading them
            self.finish(self.start(["verify", str(self.out)]))
        seed = self.seed_there()
        words = (
            self.line(1, self.out)
            if seed is None
            else ["render", "--recipe", f"{self.out}/synvid.yaml", "--out", str(self.out)]
        )
        final = self.finish(self.start(words))
        if final.code != 0:
            self.failures.append(f"the last render refuses: {final.said.strip()[-150:]}")
            return
        self._compare(seed or 1)
        for command in (["verify", str(self.out)], ["status", str(self.out)]):
            process = self.finish(self.start(command))
            if process.code != 0 and not (self.card and "README.md" in process.said):
                self.failures.append(f"{command[0]} of the finished dataset: {process.said.strip()[-150:]}")
        for name, data in self.strangers.items():
            if not (self.out / name).is_file() or (self.out / name).read_bytes() != data:
                self.failures.append("a stranger's file is gone or changed")
        if self.card and not any(NOTE.encode() in path.read_bytes() for path in self.out.glob("README*")):
            self.failures.append("the edited card is gone")
        if not self.lockless and list((self.out / STATE).glob("tmp-*")):
            self.failures.append("workspaces of killed runs are left")

    def _compare(self, seed: int) -> None:
        there, whole = contents(self.out), self.reference(seed)
        own = {name for name in there if not name.startswith("README")} - self.strangers.keys()
        wanted = {name for name in whole if not name.startswith("README")}
        if own - wanted:
            self.failures.append(f"files too many: {', '.join(sorted(own - wanted)[:3])}")
        if wanted - own:
            self.failures.append(f"files are missing: {', '.join(sorted(wanted - own)[:3])}")
        different = sorted(name for name in wanted & own if there[name] != whole[name])
        if different:
            self.failures.append(f"differs from the undisturbed dataset: {', '.join(different[:3])}")
        if not self.card and there.get("README.md") != whole["README.md"]:
            self.failures.append("the card differs from the undisturbed one")


# ---- Operations -----------------------------------------------------------------------------------------------------
def render(site: RenderSite) -> None:
    """Render, perhaps under a condition, perhaps until a signal."""

    def act() -> None:
        process = site.start(site.line(1, site.out), site.conditions())
        site.disturb(process)
        site.finish(process)

    site.keeps(act)


def parts(site: RenderSite) -> None:
    """Render two parts into one folder at once; one may be disturbed."""

    def act() -> None:
        both = [site.start(site.line(1, site.out, "--part", f"{i}/2"), site.conditions(0.3)) for i in range(2)]
        site.disturb(site.rng.choice(both))
        for process in both:
            site.finish(process)

    site.faults["two parts at once"] += 1
    site.keeps(act)


def merge(site: RenderSite) -> None:
    """Render a part elsewhere and merge it; the merge may be disturbed."""

    def act() -> None:
        for i in range(2):
            site.finish(site.start(site.line(1, site.folder / f"part{i}", "--part", f"{i}/2")))
        process = site.start(["merge", str(site.out), *(str(site.folder / f"part{i}") for i in range(2))], site.conditions())
        site.disturb(process)
        site.finish(process)

    site.faults["merge"] += 1
    site.keeps(act)


def race(site: RenderSite) -> None:
    """Render two recipes into one folder at once, perhaps with --overwrite."""
    running = []
    for seed in site.rng.sample((1, 2), 2):
        more = ["--overwrite"] if site.rng.random() < 0.5 else []
        slow = {"slow disk": site.rng.randrange(1 << 30)} | site.conditions(0.2)
        running.append(site.start(site.line(seed, site.out, *more), slow))
        time.sleep(site.rng.random() * 0.3)
    site.faults["two recipes at once"] += 1
    for process in running:
        site.finish(process)
    site.card &= _has_note(site.out)  # --overwrite of another recipe may take the card along


def overwrite(site: RenderSite) -> None:
    """--overwrite with the recipe that is there goes on with it, and is refused for a part."""

    def act() -> None:
        more = ["--part", "0/2"] if site.rng.random() < 0.3 else []
        process = site.start(site.line(site.seed_there() or 1, site.out, "--overwrite", *more), site.conditions(0.2))
        site.disturb(process)
        site.finish(process)

    site.faults["overwrite"] += 1
    site.keeps(act)


def verify(site: RenderSite) -> None:
    """Verify, perhaps until a signal."""
    process = site.start(["verify", str(site.out), *(["--rerender"] if site.rng.random() < 0.3 else [])], site.conditions(0.2))
    site.disturb(process)
    site.finish(process)


def damage_shard(site: RenderSite) -> None:
    """Change, cut or remove a file of a shard."""
    found = [path for name in ("train", "videos") for path in sorted((site.out / name).rglob("*")) if path.is_file()]
    found = [path for path in found if path.relative_to(site.out).as_posix() not in site.strangers]
    if found:
        path, how = site.rng.choice(found), site.rng.choice(("flip", "cut", "remove"))
        _damage(site, path, how)
        site.flipped |= how == "flip"


def damage_record(site: RenderSite) -> None:
    """Change, cut, empty or remove the record of a shard, or take a key from its rows."""
    found = sorted((site.out / STATE).glob("shard-*.json"))
    if found:
        path, how = site.rng.choice(found), site.rng.choice(("cut", "remove", "no row key", "path outside", "rows swapped"))
        _damage(site, path, how)


def damage_manifest(site: RenderSite) -> None:
    """Change, cut or remove a describing file."""
    found = [
        path for name in ("manifest.jsonl", "metadata.jsonl", "lists/videomae.csv") if (path := site.out / name).is_file()
    ]
    if found:
        _damage(site, site.rng.choice(found), site.rng.choice(("flip", "cut", "remove", "lines swapped")))


def foreign_shard(site: RenderSite) -> None:
    """A shard and its record of another seed under the right names."""
    seed, shard = site.seed_there(), site.rng.randrange(site.shards)
    if seed is not None:
        other = site.reference(3 - seed)
        record = f"{STATE}/shard-{shard:06d}.json"
        for name in (record, *files_of(other[record])):
            (site.out / name).parent.mkdir(parents=True, exist_ok=True)
            (site.out / name).write_bytes(other[name])
        site.faults["foreign shard"] += 1


def stranger(site: RenderSite) -> None:
    """A file that is none of ours."""
    if site.seed_there() is not None:
        name = site.rng.choice(("notes.txt", "train/notes.txt", "lists/mine.csv", f"{STATE}/notes.txt", "videos/notes.txt"))
        (site.out / name).parent.mkdir(parents=True, exist_ok=True)
        site.strangers[name] = f"mine {site.rng.random()}".encode()
        (site.out / name).write_bytes(site.strangers[name])
        site.faults["stranger's file"] += 1


def edited_card(site: RenderSite) -> None:
    """Somebody adds a line to the dataset card."""
    path = site.out / "README.md"
    if path.is_file():
        path.write_text(path.read_text() + NOTE)
        site.card = True
        site.faults["edited card"] += 1


OPERATIONS = [
    render, parts, merge, race, overwrite, verify, damage_shard, damage_record, damage_manifest, foreign_shard, stranger,
    edited_card, render, parts,
]  # fmt: skip


def _has_note(out: Path) -> bool:
    return any(NOTE.encode() in path.read_bytes() for path in out.glob("README*"))


def _damage(site: RenderSite, path: Path, how: str) -> None:
    """Damage a file in one of several ways."""
    data = path.read_bytes()
    if how == "remove":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: site.rng.randrange(len(data) or 1)])
    elif how == "flip":
        place = site.rng.randrange(len(data) or 1)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    elif how == "lines swapped":
        lines = data.splitlines(keepends=True)
        path.write_bytes(b"".join(reversed(lines)))
    else:
        _damage_rows(site, path, how)
    site.faults[f"damaged: {how}"] += 1
    site.done[-1] += f" {how}"


def _damage_rows(site: RenderSite, path: Path, how: str) -> None:
    """Change what a record says, so that it still is JSON."""
    try:
        head, *rows = (json.loads(line) for line in path.read_bytes().splitlines())
        if how == "no row key":
            row = site.rng.choice(rows)
            row.pop(site.rng.choice(sorted(row)))
        elif how == "path outside":
            site.rng.choice(head["files"])["path"] = "../../tiny.yaml"
        else:
            rows.reverse()
    except (ValueError, KeyError, IndexError):  # damaged before
        return
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))
