"""What the JSON files of a run directory hold, and whether they can be believed."""

import hashlib
import json
import math
import pathlib

DONE, STOPPED, FAILED, OUT_OF_MEMORY = "done", "stopped", "failed", "out-of-memory"
# A failed trial runs again with the next command: the fault may have been the machine's.
FINAL = (DONE, STOPPED, OUT_OF_MEMORY)


def trial_id(name, recipe, seed):
    """Made here, once, from recipe and seed. Nothing ever reads a setting back out of it.

    Args:
        name: str, for people.
        recipe: dict of JSON values.
        seed: int.
    """
    asked = json.dumps({"recipe": recipe, "seed": seed}, sort_keys=True)
    return f"{name}-seed{seed}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def read_json(path):
    """The parsed file, or None where it is missing or no JSON object."""
    try:
        value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, RecursionError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_result(path):
    """A trial's result.json, or None where it is missing, damaged, or another trial's."""
    result = read_json(path)
    return result if result and _is_whole(result, pathlib.Path(path).parent.name) else None


def _is_whole(result, folder):
    try:
        trial = trial_id(result["name"], result["recipe"], result["seed"])
        return (
            result["id"] == trial == folder
            and result["status"] in (*FINAL, FAILED)
            and isinstance(result["metrics"], dict)
            and math.isfinite(result["seconds"])
        )
    except (KeyError, TypeError):
        return False


def plain(value):
    """NumPy scalars and arrays as Python values; a number that is not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
