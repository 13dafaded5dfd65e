"""The source that a command names, opened as its options say."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from sightline.errors import InvalidValue, OneClassOnly


def opened(arguments: Namespace, *, to_judge: bool = False) -> Any:
    """What was typed, for the function to open; or a Dataset where `--column` or `--label-from` says how.

    To judge a network, one class is enough.
    """
    if arguments.column is None and arguments.label_from is None:
        return arguments.source
    from sightline.data.sources.loading import load, named_columns

    if arguments.source is None:
        raise InvalidValue("--column and --label-from say how a source is opened; name one.")
    columns = named_columns(arguments.column or "")
    try:
        return load(arguments.source, label_from=arguments.label_from or "first", columns=columns)
    except OneClassOnly as error:
        if not to_judge:
            raise
        return error.dataset
