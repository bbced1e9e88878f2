"""What can be wrong with data: it is not there, or it is not what it should be."""

from lrn import check


class DataError(ValueError):
    """A file is damaged, of another schema, or holds values it should not."""


class DataNotFoundError(FileNotFoundError):
    """A data set is neither in the data folder nor in the cache, and could not be downloaded."""


class DataFolderError(DataNotFoundError, check.InputError):
    """The folder that was named for data is none."""
