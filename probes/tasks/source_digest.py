"""What data and models are made of: contents of local files, revisions of what the hub holds."""

import hashlib
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Literal

from probes.jobs.validation import require

#: Files below a folder of data or of a model, at most.
MOST_FILES = 10_000
#: Seconds within which the hub has to answer.
PATIENCE = 10
#: Seconds for which a hub that could not be reached is not asked again.
PAUSE = 60
#: When the hub could not be reached, by ``time.monotonic``; None where it was, or was not asked.
_unreached: float | None = None

RepositoryKind = Literal["model", "dataset"]


def digest_of(
    data: str | None, model: str, dataset: str | None = None, held_out: str | None = None
) -> str:
    """Hash what data and model are made of.

    Args:
        data: local file or folder; None where the data are on the hub or come with the project.
        model: local folder, or a name on the hub.
        dataset: name on the hub, where the data are there.
        held_out: local file of held-out data, where these are not in ``data``.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: a folder that holds too much to be data or a model; a model that is neither here
            nor to be had.
    """
    digest = hashlib.sha256(model.encode())
    for place in (data, held_out, model):
        if place and Path(place).exists():
            _add_contents(digest, Path(place))
    if not Path(model).exists():
        digest.update(hub_revision(model, "model").encode())
    if dataset is not None:
        digest.update(hub_revision(dataset, "dataset").encode())
    return digest.hexdigest()[:16]


def hub_revision(name: str, kind: RepositoryKind) -> str:
    """Find the commit that a name on the hub stands for now.

    Args:
        name: of the repository.
        kind: of the repository.

    Returns:
        The commit: as the hub says, or of the copy on this machine where the hub cannot be reached;
        empty where there is neither, as loading it will say.

    Raises:
        ValueError: the hub cannot be reached, and this machine has no copy of the model.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    unreachable = False
    _ask_again()
    try:
        return HfApi().repo_info(name, repo_type=kind, timeout=PATIENCE).sha or ""
    except (HfHubHTTPError, OfflineModeIsEnabled, ValueError):
        pass  # no such repository, no right to it, offline by choice, no name
    except Exception:  # no network, whatever its library says of it
        unreachable = True
        _stay_offline()
    folder = f"{kind}s--" + name.replace("/", "--")
    known = Path(constants.HF_HUB_CACHE, folder, "refs", "main")
    here = known.is_file()
    if unreachable and kind == "model" and not here:
        allowed = "a folder, or a name on the hub"
        found = (
            f"{name!r}: there is no such folder, and the hub cannot be reached (it is asked again "
            f"after {PAUSE} seconds)"
        )
        require(False, "model", allowed, found)
    return known.read_text().strip() if here else ""


def _stay_offline() -> None:
    """Ask the hub no more for a while, here and in processes to come: each answer takes a minute.

    A notebook goes on asking once the network is back.
    """
    global _unreached
    _set_offline(True)
    _unreached = time.monotonic()


def _ask_again() -> None:
    """Undo :func:`_stay_offline` after a while."""
    global _unreached
    if _unreached is not None and time.monotonic() - _unreached >= PAUSE:
        _set_offline(False)
        _unreached = None


def _set_offline(offline: bool) -> None:
    """Tell the libraries that load models and data whether they may ask the hub."""
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = str(int(offline))
    constants.HF_HUB_OFFLINE = offline
    # It reads the other's value once, when it is imported.
    if datasets := sys.modules.get("datasets"):
        datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = offline


def _add_contents(digest: "hashlib._Hash", place: Path) -> None:
    """Add the contents of a file, or of all files below a folder, in order of their paths."""
    found = list(islice(place.rglob("*"), MOST_FILES + 1)) if place.is_dir() else [place]
    require(
        len(found) <= MOST_FILES, "data", "a folder of data or of a model alone",
        f"{place}, with more than {MOST_FILES} files",
    )  # fmt: skip
    for file in sorted(found):
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
