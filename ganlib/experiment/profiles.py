"""Profiles: the scales at which every study runs, and what its figures say of them."""

QUICK, CPU, FULL = PROFILES = ("quick", "cpu", "full")
# On every figure of a profile; nothing stands on those of the write-up's own scale.
MARKS = {
    QUICK: "quick profile",
    CPU: "cpu profile: below the write-up's scale",
}
SEEDS = {QUICK: 1, CPU: 1, FULL: 3}  # of each variation


def check(profile):
    """Returns a profile's name.

    Args:
        profile: str, one of `PROFILES`.

    Raises:
        ValueError: there is no such profile.
    """
    if profile not in PROFILES:
        raise ValueError(
            '`profile` must be "quick" (minutes, embedded data), "cpu" (hours on two cores, real '
            f'data) or "full" (the write-up\'s scale, a GPU). Received: profile={profile!r}'
        )
    return profile


def mark(profile, changes=None):
    """What a figure says of the scale that made it.

    Args:
        profile: str.
        changes: dict, the fields of all recipes that were changed; see `ganlib.experiment.changes`.

    Returns:
        str; "" where the figure shows the write-up's own scale.
    """
    changed = ", ".join(f"{name}={value}" for name, value in (changes or {}).items())
    parts = [MARKS.get(profile), f"changed: {changed}" if changed else None]
    return "; ".join(filter(None, parts))
