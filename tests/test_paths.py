"""The cache folder, home folders, and searching for files."""

import pytest

from synvid.errors import ConfigurationError
from synvid.paths import find_files


def test_user_without_home_has_a_temporary_cache(monkeypatch, tmp_path):
    """Without HOME and an entry in the user database, caches are in a private temporary folder."""
    pwd = pytest.importorskip("pwd")

    from synvid import paths
    from synvid.numerics import jit

    def nobody(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(paths.tempfile, "tempdir", str(tmp_path))
    paths._temporary_folder.cache_clear()
    try:
        home = paths.cache_folder()
        assert (home.parent, home.stat().st_mode & 0o777) == (tmp_path, 0o700)
        assert paths.cache_folder() == home
        assert jit._cache_folder().startswith(str(home))
    finally:
        paths._temporary_folder.cache_clear()


@pytest.mark.parametrize("path", ["~nobody-of-that-name/set", "~nobody-of-that-name"])
def test_home_of_unknown_user_raises(path):
    """A path in the home of an unknown user is a ConfigurationError that names it."""
    import synvid

    with pytest.raises(ConfigurationError, match=r"~nobody-of-that-name.*no such user"):
        synvid.open_dataset(path)


def test_find_files_skips_macos_metadata(tmp_path):
    """`._x.mp4`, in which macOS keeps attributes of `x.mp4`, is not found."""
    for name in ("x.mp4", "._x.mp4", "below/y.MP4", "below/._y.MP4", ".z.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_files(tmp_path, (".mp4",)) == [".z.mp4", "below/y.MP4", "x.mp4"]
