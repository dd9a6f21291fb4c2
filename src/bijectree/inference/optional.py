"""Packages that may be missing."""

import importlib
from typing import Any


def optional_import(name: str) -> Any:
    """Import an optional library, or raise an error that names its extra."""
    library = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (name, library):
            # The library is there, but something that it needs is not.
            raise
        extras = {"arviz": "blackjax", "arviz_stats": "blackjax", "matplotlib": "plot"}
        extra = extras.get(library, library)
        raise ImportError(
            f'{library} is not installed: pip install "bijectree[{extra}]"'
        ) from error
