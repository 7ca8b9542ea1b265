"""The one exception of the data layer."""


class DataError(ValueError):
    """A problem of the data itself. The message names the file or value, and the remedy."""
