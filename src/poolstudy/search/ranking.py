"""The trials that count, kept in order: the loop asks for them on every turn, and there may be thousands."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Literal

_Rank = tuple[bool, float, int, int]


class Ranking:
    """Trials' numbers, best first; complete ones before pruned ones, of equals the one of the lower slot."""

    def __init__(self, *, maximize: bool) -> None:
        self._sign = -1 if maximize else 1
        self._by_slot: dict[int, _Rank] = {}
        self._ranks: list[_Rank] = []

    def put(self, slot: int, number: int, state: Literal["complete", "pruned"], objective: float) -> None:
        """Gives a slot's trial its place; another of the same slot loses its own."""
        if slot in self._by_slot:
            del self._ranks[bisect_left(self._ranks, self._by_slot[slot])]
        self._by_slot[slot] = rank = (state == "pruned", self._sign * objective, slot, number)
        insort(self._ranks, rank)

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[int]:
        return (number for *_, number in self._ranks)
