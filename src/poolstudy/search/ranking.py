"""The trials that count, kept in order: the loop asks for them on every turn, and there may be thousands."""

from bisect import bisect_left, insort

from poolstudy.records import Ended

_Rank = tuple[bool, float, int]


class Ranking:
    """Trials by their slots, best first; complete ones before pruned ones, of equals the lower slot."""

    def __init__(self, *, maximize: bool) -> None:
        self._sign = -1 if maximize else 1
        self._by_slot: dict[int, Ended] = {}
        self._ranks: list[_Rank] = []
        self._trials: list[Ended] = []  # beside their ranks

    def __setitem__(self, slot: int, trial: Ended) -> None:
        if slot in self._by_slot:
            place = bisect_left(self._ranks, self._rank(self._by_slot[slot]))
            del self._ranks[place], self._trials[place]
        self._by_slot[slot] = trial
        rank = self._rank(trial)
        self._trials.insert(bisect_left(self._ranks, rank), trial)
        insort(self._ranks, rank)

    def __getitem__(self, slot: int) -> Ended:
        return self._by_slot[slot]

    def __contains__(self, slot: int) -> bool:
        return slot in self._by_slot

    def best_first(self) -> list[Ended]:
        return self._trials.copy()

    def _rank(self, trial: Ended) -> _Rank:
        return trial.state == "pruned", self._sign * trial.objective, trial.slot
