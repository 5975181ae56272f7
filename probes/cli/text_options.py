"""The settings of the text tasks."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from probes.jobs.validation import check_count, check_one_of, require
from probes.models.encoder import POOLINGS
from probes.tasks import TEXT_TASKS, TextSource
from probes.tasks.packaged import packaged
from probes.tasks.source_digest import digest_of
from probes.tasks.text_file import FORMATS, check_encoding, check_file
from probes.tasks.tweets import MODEL, TEXTS


@dataclass(frozen=True)
class TextOptions:
    """What the text tasks read, and how their model is adapted."""

    data: str | None = None
    """Task text: CSV, TSV, JSON, JSON Lines or Parquet file of the texts and their labels."""

    text_column: str = "text"
    """Task text: column of the texts."""

    label_column: str = "label"
    """Task text: column of the labels, each a class."""

    encoding: str = "utf-8"
    """Task text: encoding of the file, such as cp1252."""

    model: str | None = None
    """Text tasks: folder of a pretrained encoder (BERT family), or its name on the hub. Default:
    MiniLM-L6, from its PyPI package."""

    layers: int = 1
    """Text tasks: number of adapted layers, the last ones; more take longer."""

    pooling: str = "cls"
    """Text tasks: what is read out, cls (the first token) or mean (all tokens; takes longer)."""

    tokens: int | None = None
    """Text tasks: texts are cut after that many tokens. Default: 48, or what the model takes."""

    def text_source(self, task: str) -> TextSource | None:
        """Check the options and return what a text task is made of; None for another task.

        Raises:
            ValueError: an option is out of range, or given where it means nothing.
        """
        if task not in TEXT_TASKS:
            of_file = task.endswith(FORMATS) or Path(task).is_file()
            require(not of_file, "task", f"text for a file (--task text --data {task})", task)
            for field in fields(TextOptions):
                value = getattr(self, field.name)
                require(
                    value == field.default, field.name, f"left out for task {task}", repr(value)
                )
            return None
        require((self.data is not None) == (task == "text"), "data",
                "given for task text, and for no other", self.data)  # fmt: skip
        check_one_of("pooling", self.pooling, POOLINGS)
        tokens = self.tokens
        require(tokens is None or 2 <= tokens <= 512, "tokens", "from 2 to 512", tokens)
        check_encoding(self.encoding)
        check_count("layers", self.layers)
        data = Path(self.data) if self.data else packaged(TEXTS)
        check_file(str(data))
        model = self.model or str(packaged(MODEL))
        return TextSource(
            data=str(data),
            text_column=self.text_column,
            label_column=self.label_column,
            model=model,
            layers=self.layers,
            pooling=self.pooling,  # type: ignore[arg-type]
            tokens=self.tokens,
            digest=digest_of(str(data), model),
            encoding=self.encoding,
        )

    @property
    def text_options(self) -> dict[str, Any]:
        """These options alone."""
        return {field.name: getattr(self, field.name) for field in fields(TextOptions)}
