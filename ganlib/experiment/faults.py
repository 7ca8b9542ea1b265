"""Faults that are the machine's and not the training's: what they are called, and what helps."""

import contextlib
import errno
import pathlib
import tempfile

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE = "no space left on device"
# What each backend and the system say, whatever the class: only one backend is installed.
NO_MEMORY = (
    "resourceexhausted",
    "resource_exhausted",
    "out of memory",
    "outofmemory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate",
    "alloc_failed",
)


class StudyError(RuntimeError):
    """A study can't go on as asked; the message says what to do."""


def is_full(error):
    """Whether the disk is full; TensorFlow calls that an exhausted resource, as it does memory."""
    return getattr(error, "errno", None) in FULL or NO_SPACE in str(error).lower()


def is_out_of_memory(error):
    """Whether the memory did not suffice, of the machine or of an accelerator."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = f"{type(error).__name__} {error}".lower()
    return not is_full(error) and any(words in text for words in NO_MEMORY)


def describe(error, trial_id):
    """An error as text, with what helps against it."""
    text = f"{type(error).__name__}: {error}"
    if is_full(error):
        return f"{text}. {free_space()}"
    if is_out_of_memory(error):
        return (
            f"{text.rstrip('.')}. Ask for less, with --set batch_size=… or fewer --workers; or, "
            f"with more memory, begin this trial again with --trials {trial_id} --fresh."
        )
    return text


def free_space():
    """What helps against a full disk."""
    return (
        "Free some space, or move the folder of all runs and name it with --out: the same command "
        "goes on from the last checkpoint."
    )


def of_a_file(error):
    """What an `OSError` says of a file, as a message; None where it says nothing of one."""
    if is_full(error):
        return f"{error}. {free_space()}"
    if error.filename is None:
        return None
    return f"{error.filename}: {error.strerror}. Check the name and who may use it."


@contextlib.contextmanager
def naming(path):
    """Gives an `OSError` from within the file's name, which a full disk leaves out."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def check_writable(folder, option):
    """Raises a `StudyError` if a folder can't be written to, or can't be made.

    Nothing is left in it, and no folder is made: a command may yet end for another reason.

    Args:
        folder: path.
        option: of the command line, that names another folder.
    """
    wanted = pathlib.Path(folder).absolute()
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        raise StudyError(
            f"{folder} can't be written to ({there}: {error.strerror}). Nothing has been run. Give "
            f"another folder with {option}, or make this one writable."
        ) from error
