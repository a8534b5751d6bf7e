"""Seeds that follow from others. No torch here: worker processes import it."""

import numpy as np


def derived_seed(*words: int) -> int:
    """A seed of 31 bits for some words, such as a seed and a number: another one for other words."""
    return int(np.random.SeedSequence(list(words)).generate_state(1)[0] >> 1)
