"""Networks whose features and class probabilities the metrics stand on."""

import importlib.util
import pathlib


def package_file(package, pattern):
    """Path of a file that a package ships, or None; the package itself is not imported."""
    spec = importlib.util.find_spec(package)
    folders = spec and spec.submodule_search_locations
    return next(pathlib.Path(folders[0]).glob(pattern), None) if folders else None
