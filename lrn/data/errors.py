"""Errors of data sets: a set cannot be found, or a file is wrong."""

from lrn import check


class DataError(ValueError):
    """A file is damaged, has another schema, or holds wrong values."""


class DataNotFoundError(FileNotFoundError):
    """A data set is neither in the data folder nor in the cache, and could not be downloaded."""


class DataFolderError(DataNotFoundError, check.InputError):
    """``$LRN_DATA_DIR`` is no folder."""
