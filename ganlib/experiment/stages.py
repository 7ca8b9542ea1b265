"""A study, and the trials that follow from what came out of it."""

from ganlib.experiment.study import FAILED


def run_stages(study, run):
    """Runs a study and then, unless a trial failed, what follows it.

    Args:
        study: `ganlib.experiment.study.Study`.
        run: `(study) -> list of result dicts`, an engine with its options.

    Returns:
        The results of all stages.
    """
    results = []
    while study is not None:
        some = run(study)
        results += some
        if any(result["status"] == FAILED for result in some):
            break
        study = study.following(some)
    return results
