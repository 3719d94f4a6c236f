"""Small lists of videos, and empty video files for them."""

import json


def touch(folder, *names):
    """Make empty files, with their folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def write_list(path, content):
    """Write text, or anything else as JSON; return the path."""
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def labels_by_path(videos):
    """Return {path below the folder of the list: class name}."""
    folder = videos.source if videos.source.is_dir() else videos.source.parent
    return {
        path.relative_to(folder).as_posix(): videos.classes[label]
        for path, label in zip(videos.paths, videos.labels, strict=True)
    }
