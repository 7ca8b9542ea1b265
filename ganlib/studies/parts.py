"""What the data of a study have in common whose pictures come in three parts."""

import dataclasses


@dataclasses.dataclass(eq=False)
class Parts:
    """Pictures in three parts that share none.

    Attributes:
        train: `ganlib.data.ImageSet` or `Photos`, for the networks.
        validation: the same, for every choice, such as the best epoch.
        test: the same, scored at the end and used for no choice.
        checksum, name, origin, synthetic: what a run and a report say of the data.
    """

    train: object
    validation: object
    test: object

    def __post_init__(self):
        parts = self.train, self.validation, self.test
        self.checksum = "".join(part.checksum()[:16] for part in parts)
        self.name, self.origin = self.train.name, self.train.origin
        self.synthetic = self.train.synthetic
