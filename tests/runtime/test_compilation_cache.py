"""The compilation cache's folder."""

import jax
import pytest

from configs import default
from inceptionnext_jax.runtime import compilation_cache


@pytest.fixture(autouse=True)
def cache_setting():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("given", ["{default}", "{tmp}/other"])
def test_xdg_cache_home_moves_the_default_folder_only(given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    default_folder = default.get_config().compilation_cache
    folder = given.format(default=default_folder, tmp=tmp_path)
    compilation_cache.cache_compilations(folder)
    expected = (
        tmp_path / "cache/inceptionnext_jax/xla" if folder == default_folder else tmp_path / "other"
    )
    assert jax.config.jax_compilation_cache_dir == str(expected)
    assert expected.is_dir()


def test_without_xdg_cache_home_the_default_is_the_folder_that_it_names(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    compilation_cache.cache_compilations()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / ".cache/inceptionnext_jax/xla")


def test_a_folder_that_cannot_be_created_is_reported(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    compilation_cache.cache_compilations(str(tmp_path / "file" / "cache"))
    assert "no compilation cache: " in capsys.readouterr().err
