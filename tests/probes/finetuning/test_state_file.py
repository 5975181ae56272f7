"""What is written is read: values, types and tensors; what cannot be kept is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from probes.finetuning.state_file import read_state, write_state

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
#: Two keys that are no numbers are two keys until they are written: they are read as one.
KEYS = SCALARS.filter(lambda key: key == key) | st.tuples(st.text(), st.integers())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=VALUES)
@settings(max_examples=100)
def test_values_and_their_types_come_back(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state"
    write_state(path, value)
    assert repr(read_state(path)) == repr(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.bool])
def test_tensors_come_back_to_the_bit(dtype, tmp_path):
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    state = {0: {"one": whole, "part": whole.T[:, 1:3], "none": whole[:0], "step": whole[1, 1]}}
    write_state(tmp_path / "state", state)
    for name, tensor in read_state(tmp_path / "state")[0].items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, state[0][name])


def test_what_cannot_be_kept_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="state cannot keep"):
        write_state(tmp_path / "state", {"one": object()})
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "state").write_bytes(b"anything")
    with pytest.raises(ValueError, match="damaged"):
        read_state(tmp_path / "state")


@pytest.mark.parametrize("said", [None, {"format": "pt"}])
def test_tensors_that_somebody_else_wrote_are_refused(said, tmp_path):
    save_file({"0": torch.zeros(2)}, tmp_path / "state", said)
    with pytest.raises(ValueError, match="damaged"):
        read_state(tmp_path / "state")


def test_a_tensor_that_was_changed_is_refused(tmp_path):
    write_state(tmp_path / "state", [torch.zeros(2)])
    with safe_open(tmp_path / "state", framework="pt") as file:
        said = file.metadata()
    save_file({"0": torch.ones(2)}, tmp_path / "state", said)
    with pytest.raises(ValueError, match="does not hold what was written"):
        read_state(tmp_path / "state")
