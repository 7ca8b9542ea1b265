"""The exceptions of the data layer."""


class DataError(ValueError):
    """A problem of the data itself. The message names the file or value, and the remedy."""


class NoSplitError(DataError):
    """The data are not divided as asked. Whoever can do with all of them may ask for that."""
