"""The dataset card (README.md), for people and for Hugging Face."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from synvid.dataset.layout import MANIFEST_FILES
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.formatting import format_count
from synvid.templates import load_template

__all__ = ["CARD_FILE", "card_text", "is_edited_card"]


CARD_FILE = "README.md"

#: Last line of a card. If the hash does not match, somebody has edited the card, and it is never overwritten.
_SEAL = "\n<!-- Written by synvid, SHA-256 %s. An edited card is never overwritten. -->\n"

_SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def is_edited_card(card: Path) -> bool:
    """Return whether a card exists and is not as synvid wrote it, by the hash in its last line."""
    try:
        text = card.read_bytes()
    except OSError:
        return False
    start = text.rfind(_SEAL.encode().partition(b"%")[0])
    return start < 0 or text[start:] != _seal(text[:start])


def _seal(text: bytes) -> bytes:
    return (_SEAL % hashlib.sha256(text).hexdigest()).encode()


def card_text(recipe: DatasetRecipe, records: list[ShardRecord]) -> str:
    """Return the text of the card.

    Args:
        recipe: the recipe of the dataset.
        records: the records of all shards.
    """
    template = load_template(Path(__file__).with_name("card.md.j2"))
    title = f"synvid {recipe.preset.name}, {format_count(recipe.n, 'clip')}, seed {recipe.seed}"
    text = template.render(
        recipe=recipe,
        video=recipe.preset.video,
        is_tar=recipe.format == "tar",
        pretty_name=json.dumps(title, ensure_ascii=False),  # a JSON string is a YAML string
        size_category=next((name for limit, name in _SIZE_CATEGORIES if recipe.n < limit), "n>1M"),
        num_frames=sum(record.frames for record in records),
        num_bytes=sum(record.size for record in records),
        num_shards=recipe.num_shards,
        encoding_description=recipe.make_encoder().encoding.description,
        manifest_file=MANIFEST_FILES[recipe.format],
        recipe_file=RECIPE_FILE,
    )
    return text + _seal(text.encode()).decode()
