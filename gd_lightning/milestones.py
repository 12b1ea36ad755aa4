"""Which steps of a descent are looked at, of a run of any length."""

__all__ = ["is_one_two_five", "is_round"]


def is_one_two_five(step: int) -> bool:
    """Whether a step is one of 0, 1, 2, 5, 10, 20, 50, ...: few enough to be numbered in a picture."""
    return step == 0 or str(step).rstrip("0") in ("1", "2", "5")


def is_round(step: int) -> bool:
    """Whether a step is one of 0 .. 10, 20, 50, 100, 200, ...: enough to show of a run of any length."""
    return step <= 10 or is_one_two_five(step)
