"""Datasets of the Hugging Face hub, downloaded or streamed: `open_hub`.

This is where Hugging Face `datasets` is used; it is imported when a dataset is opened, which takes seconds. What
columns mean is not known here.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sightline.data.readers.arrow import named, one_line
from sightline.data.readers.items import Item, Place

__all__ = ["HUB", "HubItems", "StreamItems", "open_hub", "split_names"]

HUB = "hub:"
_ADDRESS = re.compile(r"hub:(?P<name>[^/@:]+/[^/@:]+)(/(?P<config>[^@]+))?(@(?P<split>.+))?")


class HubItems:
    """A dataset that lies in the library's cache, memory-mapped."""

    def __init__(self, address: str, dataset: Any):
        self.folder, self._address, self._names = Path(), address, _class_names(dataset)
        # As Arrow, or the library would decode every picture.
        self._rows = dataset.with_format("arrow")

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, start: int, stop: int) -> Iterator[Item]:
        for index in range(start, min(stop, len(self))):
            yield self[index]

    def __getitem__(self, index: int) -> Item:
        (fields,) = self._rows[index].to_pylist()
        return Item(str(self.place(index)), named(fields, self._names))

    def place(self, index: int) -> Place:
        return Place(self._address, "row", str(index + 1))

    def fingerprint(self) -> str:
        """The library's own: a hash of the files and of what was done to them."""
        return hashlib.sha256(f"{self._address} {self._rows._fingerprint}".encode()).hexdigest()


def _lies_there(value: Any) -> bool:
    """Whether it is a picture that the dataset names without its bytes."""
    return isinstance(value, dict) and value.get("bytes", b"") is None and "://" in str(value.get("path"))


class StreamItems:
    """A dataset that is read from the hub as it comes, in its order, and kept nowhere; so it has no length."""

    def __init__(self, address: str, dataset: Any):
        self.folder, self._address, self._names = Path(), address, _class_names(dataset)
        self._rows = dataset.decode(False) if dataset.features else dataset  # what has no features holds no pictures

    def __len__(self) -> int:
        raise self._out_of_order()

    def read(self, start: int, stop: int) -> Iterator[Item]:
        for index, fields in enumerate(itertools.islice(self._rows, start, stop), start):
            if any(map(_lies_there, fields.values())):
                raise ValueError(f"{self.place(index)}: its picture is a file of the hub's own: leave streaming out")
            yield Item(str(self.place(index)), named(dict(fields), self._names))

    def __getitem__(self, index: int) -> Item:
        raise self._out_of_order()

    def place(self, index: int) -> Place:
        return Place(self._address, "row", str(index + 1))

    def fingerprint(self) -> str:
        return hashlib.sha256(self._address.encode()).hexdigest()

    def _out_of_order(self) -> ValueError:
        return ValueError(
            f"{self._address} is streamed, so that its rows can be read in order only: leave streaming out, and it is "
            "downloaded once"
        )


def open_hub(address: str, streaming: bool) -> HubItems | StreamItems:
    """The rows of `hub:ORGANISATION/NAME`, with `/CONFIG` and `@SPLIT` behind it where they are needed (split: train).

    Raises:
        FileNotFoundError: there is no such dataset, or the hub cannot be reached.
        ValueError: the address is no such, or the dataset has no such configuration or split.
        ImportError: `datasets` is not installed.
    """
    match = _parsed(address)
    dataset = _asked(
        address,
        lambda datasets: datasets.load_dataset(
            match["name"], match["config"], split=match["split"] or "train", streaming=streaming
        ),
    )
    return StreamItems(address, dataset) if streaming else HubItems(address, dataset)


def split_names(address: str) -> list[str]:
    """The splits that a dataset of the hub has; raises as `open_hub`."""
    match = _parsed(address)
    return _asked(address, lambda datasets: list(datasets.get_dataset_split_names(match["name"], match["config"])))


def _parsed(address: str) -> re.Match[str]:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(
            f"a dataset of the hub is given as hub:ORGANISATION/NAME[/CONFIG][@SPLIT], but not {address!r}"
        )
    return match


def _asked(address: str, question: Callable[[Any], Any]) -> Any:
    """What the library `datasets` says to `question`; its errors as one line."""
    try:
        import datasets
    except ImportError:
        raise ImportError(f"{address} needs datasets: pip install 'sightline[data]'") from None
    try:
        return question(datasets)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"there is no dataset {address} here or on the hub: {one_line(error)}") from None
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{address} cannot be loaded: {one_line(error)}") from None


def _class_names(dataset: Any) -> dict[str, list[str]]:
    features = (dataset.features or {}).items()
    return {name: list(one.names) for name, one in features if type(one).__name__ == "ClassLabel"}
