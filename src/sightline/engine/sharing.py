"""How a step's budget is divided among those who ask for more than there is. It does not know what is shared."""

from __future__ import annotations

__all__ = ["fair_shares"]


def fair_shares(needs: list[int], budget: int) -> list[int]:
    """Max-min fair parts of `budget`: what one does not need goes to the others, a remainder to the first of them.

    >>> fair_shares([2, 100, 100], 12)
    [2, 5, 5]
    >>> fair_shares([5, 5], 3)
    [2, 1]
    """
    shares = [0] * len(needs)
    while budget and (open_ := [at for at, need in enumerate(needs) if shares[at] < need]):
        each = max(budget // len(open_), 1)
        for at in open_[:budget]:
            given = min(each, needs[at] - shares[at])
            shares[at] += given
            budget -= given
    return shares
