"""The search for situations: values of variables with which formulas hold, the plainest first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from campaigns.conditions import Atom, Conditions, Formula, Key, Variable, open_variable, truth

KEYS_A_STEP: Final = 64
"""Formulas in play whose looking after takes as long as a step does by itself, or so."""
Situation = dict[Variable, Any]
Truths = dict[Key, bool | None]


@dataclass
class Steps:
    """Situations that may still be looked at; at 0 a search ends, and nothing is told by its having found nothing."""

    left: int

    @property
    def is_spent(self) -> bool:
        return self.left <= 0

    @contextmanager
    def share(self, among: int, most: int) -> Iterator[Steps]:
        """One of `among` equal parts of what is left, at most `most`; what is not used of it stays."""
        given = min(most, self.left // max(1, among))
        part = Steps(given)
        try:
            yield part
        finally:
            self.left -= given - max(0, part.left)


@dataclass
class _Choice:
    """A variable whose values are tried: those that are left, the first formula that may be open, what it decided."""

    variable: Variable
    values: Iterator[Any]
    first: int
    decided: list[Key] = field(default_factory=list)


class Situations:
    """Searches among the formulas of a plan."""

    def __init__(self, conditions: Conditions) -> None:
        self._of = conditions.of
        self.values = conditions.values
        self._variables: dict[Key, frozenset[Variable]] = {}

    def can_be(self, wanted: Iterable[Key], steps: Steps) -> bool:
        """Whether a situation was found in which all of `wanted` hold."""
        return next(self.solutions(list(wanted), (), steps), None) is not None

    def always(self, key: Key, steps: Steps) -> bool:
        """Whether a formula surely holds in every situation."""
        found = self.solutions([], [key], steps, lambda truths: None if truths[key] is not True else False)
        return next(found, None) is None and not steps.is_spent

    def solutions(
        self,
        wanted: Collection[Key],
        settled: Iterable[Key],
        steps: Steps,
        possible: Callable[[Truths], bool | None] = lambda _: None,
    ) -> Iterator[tuple[Situation, Truths]]:
        """Situations in which all of `wanted` holds and each of `settled` is decided, with what holds in them.

        `possible` says False of what cannot come to anything, and True where no more need be decided; what is not
        decided yet is None to it.
        """
        keys = list(dict.fromkeys((*wanted, *settled)))
        weight = 1 + len(keys) // KEYS_A_STEP
        steps.left -= weight
        if steps.is_spent:
            return
        watching: dict[Variable, list[Key]] = {}
        for key in keys:
            for variable in self._variables_of(key):
                watching.setdefault(variable, []).append(key)
        known: Situation = {}
        truths: Truths = {key: truth(self._of[key], known) for key in keys}
        choices: list[_Choice] = []
        has_news = True
        while steps.left > 0:
            steps.left -= weight
            verdict = possible(truths) if has_news and all(truths[key] is not False for key in wanted) else None
            if verdict and all(truths[key] for key in wanted):
                yield dict(known), dict(truths)
            elif verdict is not False and all(truths[key] is not False for key in wanted):
                first = choices[-1].first if choices else 0
                # What was decided before a choice stays so whatever is chosen, and is not looked at again.
                pending = next((at for at in range(first, len(keys)) if truths[keys[at]] is None), None)
                asked = None if pending is None else open_variable(self._of[keys[pending]], known)
                if pending is None or asked is None:
                    yield dict(known), dict(truths)
                else:
                    choices.append(_Choice(asked, iter(self.values[asked]), pending))
            while choices:
                choice = choices[-1]
                known.pop(choice.variable, None)
                truths.update(dict.fromkeys(choice.decided))
                try:
                    known[choice.variable] = next(choice.values)
                except StopIteration:
                    choices.pop()
                    continue
                choice.decided = self._decide(watching[choice.variable], known, truths)
                has_news = bool(choice.decided)
                break
            else:
                return

    def _decide(self, keys: Iterable[Key], known: Mapping[Variable, Any], truths: Truths) -> list[Key]:
        decided = []
        for key in keys:
            if truths[key] is None:
                truths[key] = truth(self._of[key], known)
                if truths[key] is not None:
                    decided.append(key)
        return decided

    def _variables_of(self, key: Key) -> frozenset[Variable]:
        found = self._variables.get(key)
        if found is None:
            found = self._variables[key] = frozenset(_variables(self._of[key]))
        return found


def _variables(formula: Formula) -> Iterator[Variable]:
    if isinstance(formula, Atom):
        yield formula.variable
    else:
        for part in formula.parts:
            yield from _variables(part)
