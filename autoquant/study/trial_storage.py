"""TrialStorage: the trials of a search, in memory and in a log; and what Optuna is told of them.

A change is one line of the log, and takes as long with many trials as with few. A sampler is asked
in an Optuna study in memory, which is made for the first proposal. Ended trials are written into
the journal of optuna-dashboard in groups.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from autoquant.plan import Plan
from autoquant.study.asking_study import AskingStudy, NoPlanLeft
from autoquant.study.journal import Journal, TrialKey
from autoquant.study.outcome import Outcome, OutcomeState, TrialRole, rung_means
from autoquant.study.parameters import Indices, Parameters
from autoquant.study.trial_log import DamagedLog, Entry, TrialLog
from autoquant.study.trial_record import Score, TrialRecord, all_attributes
from autoquant.task import Direction

_ENDS = {*get_args(OutcomeState)} - {"scored"}

GROUP = 100
"""Trials that are written into the journal at once, at most."""


class TrialStorage:
    """The trials of one search; every change is in the log when a method returns.

    Only one process at a time may open it: the one that holds the study's lock.

    Args:
        path: of the log; made with the first trial.
        direction: whether low or high scores are good.
        parameters: of the proposals.
        journal: that ended trials are written into; None for none.

    Raises:
        DamagedLog: a line is not what a search with these parameters wrote.
        WriteError: the log cannot be written.
    """

    def __init__(
        self,
        path: Path,
        direction: Direction,
        parameters: Parameters,
        journal: Journal | None = None,
    ) -> None:
        self._log, self._direction, self._parameters = TrialLog(path), direction, parameters
        self._records: dict[TrialRole, dict[str, TrialRecord]] = {"reference": {}, "search": {}}
        self._asking: AskingStudy | None = None
        self._not_told: dict[str, None] = {}  # proposals that have changed since the last one
        self._has_names = False  # whether the log names the parameters
        self._journal, self._in_order = journal, journal is None
        self._ended: list[TrialKey] = []
        self._written, self._journal_bytes = 0, 0  # of the ended trials, and of the journal
        for number, entry in enumerate(self._log.entries(), start=1):
            try:
                self._apply(entry)
            except (LookupError, TypeError, ValueError) as error:
                raise DamagedLog(f"in line {number}") from error

    # --- opening trials --------------------------------------------------------------------------

    def ask(self, sampler: BaseSampler, size_of: Callable[[Plan], int]) -> Plan | None:
        """Open a proposal.

        Args:
            sampler: Optuna's; it sees all proposals of the search, the open ones too.
            size_of: gives the bytes of a plan's packed file.

        Returns:
            its plan; None where the sampler has none left.
        """
        asking, self._asking = self._told(sampler), None  # of no use after an error
        try:
            indices = asking.ask(sampler)
        except NoPlanLeft:
            return None
        plan = self._parameters.plan_of(indices)
        size = size_of(plan)
        self._open("search", self._next_name(), size, {"indices": [*indices]}, plan)
        self._asking = asking
        return plan

    def open_reference(self, name: str, plan: Plan, size_bytes: int) -> None:
        """Open the trial of a uniform plan.

        Args:
            name: of the trial, such as "w4".
            plan: of the trial.
            size_bytes: of its packed file.
        """
        self._open("reference", name, size_bytes, {"plan": plan.to_dict()}, plan)

    def restore(self, outcome: Outcome) -> None:
        """Add a trial as it was read from a table; one that may go on is open.

        Args:
            outcome: of the trial. A proposal is named by its number, which is above all others.
        """
        name, role = outcome.trial, outcome.role
        if role == "reference":
            self.open_reference(name, outcome.plan, outcome.size_bytes)
        else:
            shown = self._shown_plan(outcome.plan)
            self._open("search", name, outcome.size_bytes, shown, outcome.plan)
        seconds = outcome.seconds
        for score in outcome.scores:
            self.add_score(role, name, score, seconds)
            seconds = 0.0
        if outcome.state != "scored":
            self.end(role, name, outcome.state, outcome.reason)

    def _told(self, sampler: BaseSampler) -> AskingStudy:
        """The study in memory, up to date.

        Args:
            sampler: that is asked next.
        """
        proposals = self._records["search"]
        if self._asking is None:
            self._not_told = {}
            ranges, records = self._parameters.ranges, proposals.values()
            self._asking = AskingStudy(ranges, self._direction, records)
        names, self._not_told = sorted(self._not_told, key=int), {}
        self._asking.update(sampler, (proposals[name] for name in names))
        return self._asking

    def _shown_plan(self, plan: Plan) -> Entry:
        """A proposal's plan as the log has it: its parameters where these say all.

        Args:
            plan: that may be outside the space, or written in another way than that of the space.
        """
        indices = self._parameters.indices_of(plan)
        shown: Entry = {} if indices is None else {"indices": [*indices]}
        if indices is None or self._parameters.plan_of(indices).fingerprint != plan.fingerprint:
            shown["plan"] = plan.to_dict()
        return shown

    def _open(self, role: TrialRole, name: str, size: int, shown: Entry, plan: Plan) -> None:
        """Open a trial.

        Args:
            role: of the trial.
            name: of the trial.
            size: of its packed file, in bytes.
            shown: its plan, as the log has it.
            plan: of the trial.
        """
        if role == "search" and not self._has_names:
            self._record({"event": "parameters", "names": [*self._parameters.ranges]})
        entry = _event("open", role, name) | {"size_bytes": size, "time": _now()}
        self._record(entry | shown, plan)

    def _next_name(self) -> str:
        """The number after that of the last proposal."""
        last = next(reversed(self._records["search"]), "-1")
        return str(int(last) + 1)

    # --- changing trials -------------------------------------------------------------------------

    def add_score(self, role: TrialRole, name: str, score: Score, seconds: float) -> None:
        """Record the score of a training, in an open trial; nothing changes in one that has ended.

        Args:
            role: of the trial.
            name: of the trial.
            score: its steps, data order and score on the valid split.
            seconds: of the training, scoring included.
        """
        if self.outcome(role, name).state != "scored":
            return
        steps, order, value = score
        entry = _event("score", role, name)
        self._record(
            entry | {"steps": steps, "order": order, "score": value, "seconds": round(seconds, 3)}
        )

    def end(self, role: TrialRole, name: str, state: OutcomeState, reason: str = "") -> None:
        """Close an open trial; nothing changes in one that has ended.

        Args:
            role: of the trial.
            name: of the trial.
            state: how it ended.
            reason: why it did not complete, in words.
        """
        if self.outcome(role, name).state == "scored":
            entry = _event("end", role, name)
            self._record(entry | {"state": state, "reason": reason, "time": _now()})

    def write_journal(self) -> None:
        """Write the trials that have ended into the journal; those of earlier processes too.

        Raises:
            WriteError: the journal cannot be written.
        """
        self.write_group()
        while self._journal is not None and self._written < len(self._ended):
            self.write_group()

    def write_group(self) -> None:
        """Write some of the trials that have ended, so few that it takes less than a second.

        Raises:
            WriteError: the journal cannot be written.
        """
        if self._journal is None:
            return
        known = set[TrialKey]()
        if not self._in_order:
            found = self._journal.opened(self._journal_bytes)
            if found is None:
                self._record({"event": "journal", "trials": 0, "bytes": 0})
            known, self._in_order = found or set(), True
        while self._written < len(self._ended):
            end = min(self._written + GROUP, len(self._ended))
            keys = [key for key in self._ended[self._written : end] if key not in known]
            size = self._journal.append((role, self._shown(role, name)) for role, name in keys)
            self._record({"event": "journal", "trials": end, "bytes": size})
            if not known:
                return

    def to_disk(self) -> None:
        """Wait until the log is on the disk, so that a power failure leaves it."""
        self._log.to_disk()

    def _shown(self, role: TrialRole, name: str) -> FrozenTrial:
        """A trial with all that people see of it."""
        record = self._records[role][name]
        readable = {} if record.indices is None else self._parameters.readable(record.indices)
        return record.as_trial(self._parameters.ranges, all_attributes(record, readable))

    # --- reading ---------------------------------------------------------------------------------

    def outcome(self, role: TrialRole, name: str) -> Outcome:
        """A trial.

        Args:
            role: of the trial.
            name: of the trial.

        Raises:
            KeyError: there is none.
        """
        return self._records[role][name].outcome

    def outcomes(self, role: TrialRole | None = None) -> list[Outcome]:
        """The trials, each in the order in which they were opened.

        Args:
            role: of the trials; None for references, then proposals.
        """
        roles = [*self._records] if role is None else [role]
        return [record.outcome for each in roles for record in self._records[each].values()]

    def __contains__(self, key: tuple[str, str]) -> bool:
        role, name = key
        return name in self._records.get(role, ())  # type: ignore[call-overload]

    def __len__(self) -> int:
        return sum(map(len, self._records.values()))

    # --- the log ---------------------------------------------------------------------------------

    def _record(self, entry: Entry, plan: Plan | None = None) -> None:
        """Write a line, then change the trial.

        Args:
            entry: the line.
            plan: of a trial that is opened.
        """
        self._log.append(entry)
        self._apply(entry, plan)

    def _apply(self, entry: Entry, plan: Plan | None = None) -> None:
        """Change a trial.

        Args:
            entry: of the log.
            plan: of a trial that is opened; None where the line gives it.

        Raises:
            LookupError: the entry is not one of a search, like TypeError and ValueError.
        """
        event = entry["event"]
        if event == "parameters":
            if entry["names"] != [*self._parameters.ranges]:
                raise ValueError("the parameters are others")
            self._has_names = True
        elif event == "journal":
            self._written, self._journal_bytes = int(entry["trials"]), int(entry["bytes"])
        elif event == "open":
            self._apply_open(entry, plan)
        elif event == "score":
            record = self._open_record(entry)
            record.outcome = _with_score(record.outcome, entry)
        elif event == "end" and entry["state"] in _ENDS:
            record = self._open_record(entry)
            end = {"state": entry["state"], "reason": str(entry["reason"])}
            record.outcome = replace(record.outcome, **end)
            record.ended = float(entry["time"])
            self._ended.append((record.outcome.role, record.outcome.trial))
        else:
            raise ValueError("no such event")

    def _apply_open(self, entry: Entry, plan: Plan | None) -> None:
        """Add a trial.

        Args:
            entry: of the log.
            plan: of the trial; None where the line gives it.
        """
        role, name = _key(entry)
        indices = tuple(entry["indices"]) if "indices" in entry else None
        if plan is None:
            plan = self._plan_of(entry, indices)
        if name in self._records[role] or (role == "search" and int(name) < int(self._next_name())):
            raise ValueError("a trial is opened twice")
        outcome = Outcome(
            trial=name,
            role=role,
            plan=plan,
            size_bytes=int(entry["size_bytes"]),
            state="scored",
        )
        self._records[role][name] = TrialRecord(outcome, indices, float(entry["time"]))
        if role == "search":
            self._not_told[name] = None

    def _plan_of(self, entry: Entry, indices: Indices | None) -> Plan:
        """The plan of a line, which follows from its parameters where it is not written out.

        Args:
            entry: of the log.
            indices: of the parameters.
        """
        known = indices or ()
        if any(type(index) is not int or index < 0 for index in known):
            raise ValueError("an index is not one of a choice")
        if "plan" in entry:
            return Plan.from_dict(entry["plan"])
        return self._parameters.plan_of(known)

    def _open_record(self, entry: Entry) -> TrialRecord:
        """The open trial that a line changes.

        Args:
            entry: of the log.
        """
        role, name = _key(entry)
        record = self._records[role][name]
        if record.outcome.state != "scored":
            raise ValueError("an ended trial is changed")
        if role == "search":
            self._not_told[name] = None
        return record


def _key(entry: Entry) -> TrialKey:
    """The trial of a line."""
    return entry.get("role", "search"), entry["trial"]


def _event(event: str, role: TrialRole, name: str) -> Entry:
    """The first part of a line.

    Args:
        event: that changes a trial.
        role: of the trial.
        name: of the trial.
    """
    entry = {"event": event, "trial": name}
    return entry if role == "search" else entry | {"role": role}


def _now() -> float:
    return round(time.time(), 3)


def _with_score(outcome: Outcome, entry: Entry) -> Outcome:
    """An outcome with one more score.

    Args:
        outcome: of an open trial.
        entry: of the log.
    """
    score = int(entry["steps"]), int(entry["order"]), float(entry["score"])
    scores = tuple(sorted([*outcome.scores, score]))
    history = rung_means(scores)
    steps, mean = history[-1]
    seconds = outcome.seconds + float(entry["seconds"])
    return replace(
        outcome, score=mean, steps=steps, seconds=seconds, history=history, scores=scores
    )
