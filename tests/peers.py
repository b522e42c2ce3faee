"""Peer libraries as oracles: a module of a peer, or a skip where it is not installed; and the scripts of `bench/`."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[1] / "bench"
sys.path.append(str(BENCH))
from vision import declare  # noqa: E402


def peer(name: str) -> ModuleType:
    """The module of a peer by its full name."""
    declare()
    return pytest.importorskip(name, reason=f"{name.split('.')[0]} is not installed")


def bench(name: str) -> ModuleType:
    """A script of `bench/` as a module."""
    return importlib.import_module(name)
