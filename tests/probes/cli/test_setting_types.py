"""What Python passes for a setting is what the command line would read, or is refused by name."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from probes.cli.setting_types import as_declared

OBJECT = object()
#: A value, the declared type, and what the setting is.
TAKEN = [
    (None, int | None, None), (None, Path | None, None), (np.int64(3), int | None, 3),
    ("out", Path | None, Path("out")), ("out", None | Path, Path("out")),
    (PurePosixPath("a/b"), Path, Path("a/b")), (PurePosixPath("a/b"), str, "a/b"),
    (PurePosixPath("a/b"), tuple[str, ...], ("a/b",)), ("ab", tuple[str, ...], ("ab",)),
    (Path("a"), tuple[Path, ...], (Path("a"),)), (0.5, tuple[float, ...], (0.5,)),
    (np.array(0.5), tuple[float, ...], (0.5,)), (torch.tensor(2), tuple[int, ...], (2,)),
    ((one for one in "ab"), tuple[str, ...], ("a", "b")), ([], tuple[int, ...], ()),
    (torch.tensor([1, 2]), tuple[int, ...], (1, 2)), (np.bool_(True), bool, True),
    (3, float, 3), (np.float32(0.5), float, 0.5), (np.array(8), int, 8), ("é", str, "é"),
    ({"a": 1}, dict[str, Any], {"a": 1}), (OBJECT, Any, OBJECT), (OBJECT, object, OBJECT),
]  # fmt: skip
#: A value, the declared type, and what is said.
REFUSED = [
    (None, int, "a whole number; got None"), (None, Path, "a path; got None"),
    ({0.1: 0}, tuple[float, ...], "a number; got {0.1: 0}"),
    (True, float, "a number; got True"), (8.0, int, "a whole number; got 8.0"),
    (b"ab", tuple[int, ...], "a whole number; got b'ab'"), (b"ab", str, "a text; got b'ab'"),
    (1j, float, "a number; got 1j"), (1, bool, "True or False; got 1"),
    (np.array([8]), int, "a whole number; got array([8])"), ("x", int | None, "number; got 'x'"),
    ([(1, 2)], tuple[int, ...], "number; got (1, 2)"), ([0], dict[str, Any], "a dictionary; got"),
    (None, tuple[int, ...], "a whole number; got None"),
]  # fmt: skip


def test_a_value_is_plain_python_of_the_declared_type():
    for value, declared, expected in TAKEN:
        found = as_declared("name", value, declared)
        assert (found, type(found)) == (expected, type(expected)), declared
        if isinstance(expected, tuple):
            assert [type(one) for one in found] == [type(one) for one in expected]


def test_another_is_refused_by_name():
    for value, declared, said in REFUSED:
        with pytest.raises(TypeError) as refused:
            as_declared("name", value, declared)
        assert str(refused.value).startswith("name must be ")
        assert said in str(refused.value)
