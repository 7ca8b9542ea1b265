"""Networks whose features and class probabilities the metrics stand on."""

import importlib.util
import pathlib


def package_file(package, pattern):
    """Path of a file that a package ships, or None; the package itself is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(pathlib.Path(next(iter(spec.submodule_search_locations))).glob(pattern), None)
