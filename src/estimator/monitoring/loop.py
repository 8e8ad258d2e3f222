"""The loop: log -> evidence -> events -> those who are told; and what follows: retraining, promotion, the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from estimator.config import Monitoring, Promotion, Retraining
from estimator.config.monitoring import duration_seconds
from estimator.core.clock import Moment
from estimator.errors import EstimatorError
from estimator.monitoring.alerts import tell
from estimator.monitoring.batch_check import Check
from estimator.monitoring.budget import Budget
from estimator.monitoring.diagnosis import diagnose
from estimator.monitoring.events import Event, claim, read_events, release, store_event
from estimator.monitoring.follower import LAG_SECONDS, Watcher
from estimator.monitoring.promotion import Contest, Standing
from estimator.monitoring.rows import Reader, check_rows
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import AliasChange, Store

# So long a watcher that has gone keeps others from watching; its state is kept as often.
LEASE_SECONDS = 30.0
MOST_CHECKED = 20_000
LEAST_CHECKED = 20


@dataclass(frozen=True)
class Rules:
    """What a config says of watching, retraining and promotion."""

    monitoring: Monitoring
    retraining: Retraining
    promotion: Promotion


@dataclass
class Loop:
    """Watches one model of a store by its log and does what the rules say follows; one process at a time does.

    `retrain` makes candidates for a reason and returns what came of it in words; None where that cannot be done.
    """

    store: Store
    database: PredictionLog
    model: str
    rules: Rules
    holder: str
    environment: Mapping[str, str] = field(default_factory=dict)
    retrain: Callable[[str], str] | None = None
    note: Callable[[str], None] = lambda text: None
    _watcher: Watcher | None = None
    _contests: dict[tuple[str, str], Contest] = field(default_factory=dict)
    _opened: dict[str, Artefact] = field(default_factory=dict)
    _kept: float = 0.0
    _looks: float = 0.0
    _renews: float = 0.0

    def step(self, now: float) -> list[Event]:
        """Do what is due at a time, in seconds since 1970; return the events that are new."""
        if not self._is_mine(now):
            return []
        assert self._watcher is not None
        found = self._watcher.step(now)
        found += self._checked(now)
        for event in list(found):
            found += self._renewed(event, now)
        found += [] if found else self._renewed_on_schedule(now)
        found += self._promoted(now) + self._rolled_back(now)
        if found or now - self._kept > LEASE_SECONDS / 2:
            self._watcher.keep()
            self._kept = now
        recent = read_events(self.database, self.model, since=now - 86_400.0)
        tell(self.database, recent, self.rules.monitoring.alerts, self.environment, now=now, note=self.note)
        return found

    def close(self) -> None:
        """Keep how far it has come and let others watch."""
        if self._watcher is not None:
            self._watcher.keep()
            release(self.database, self.model, self.holder)

    def _is_mine(self, now: float) -> bool:
        """Hold the model, taking up what was known where nobody held it before."""
        if self._watcher is not None and now < self._renews:
            return True
        if not claim(self.database, self.model, self.holder, now, seconds=LEASE_SECONDS):
            self._watcher = None
            return False
        self._renews = now + LEASE_SECONDS / 3
        if self._watcher is None:
            self._watcher = Watcher(
                self.database, self.model, self.rules.monitoring, self._version, lambda: self._alias("live"),
                self.holder,
            )  # fmt: skip
            self._watcher.take_up()
        return True

    def _version(self, name: str) -> Artefact:
        if name not in self._opened:
            self._opened = {**dict(list(self._opened.items())[-3:]), name: open_artefact(self._folder / name)}
        return self._opened[name]

    @property
    def _folder(self) -> Path:
        return self.store.root / self.model

    def _alias(self, alias: str) -> str:
        return self.store.find(f"{self.model}@{alias}")[1]

    def _checked(self, now: float) -> list[Event]:
        """Check the rows since the last check, when it is time."""
        settings = self.rules.monitoring
        every = duration_seconds(settings.every)
        reader = self._watcher.reader if self._watcher else None
        if reader is None or now < self._looks:
            return []
        # Where there were too few rows there may be enough in a while.
        self._looks = now + min(every / 24.0, 3600.0)
        before = [each.at for each in read_events(self.database, self.model) if each.kind == "check"]
        since = before[-1] if before else now - every
        if before and now - since < every:
            return []
        logged = self.database.latest(self.model, until=now - LAG_SECONDS, limit=MOST_CHECKED)
        rows = [row for row in logged if row.version == reader.artefact.version and row.at >= since]
        if len(rows) < LEAST_CHECKED:
            return []
        try:
            made = check_rows(reader, rows, settings.tests, level=Budget.of(settings).level(now - since))
        except EstimatorError as error:
            self.note(f"no check on schedule: {error.message}")
            return []
        return [event for event in self._events_of(made, reader, rows, now) if store_event(self.database, event)]

    def _events_of(self, made: Check, reader: Reader, rows: Sequence[PredictionRecord], now: float) -> list[Event]:
        """Return a check as an event, and another one when it says something that has not been told lately."""
        version = reader.artefact.version
        told = {
            "message": words_of(made), "p_value": made.p_value, "level": made.level, "rows": made.rows,
            "drifted": made.drifted,
        }  # fmt: skip
        events = [Event(f"{self.model}:{version}:check:{now:.0f}", self.model, now, "check", version, told)]
        if made.drifted and not self._told_lately("drift", version, now):
            found = diagnose(reader, rows, dict.fromkeys(reader.reference.by_name, 1.0))
            words = f"rows are not as in training: {found.message}"
            drift = {**found.to_data(), "message": words, "p_value": made.p_value, "since": rows[0].at}
            events.append(Event(f"{self.model}:{version}:drift:{now:.0f}", self.model, now, "drift", version, drift))
        return events

    def _told_lately(self, kind: str, version: str, now: float) -> bool:
        since = now - duration_seconds(self.rules.monitoring.repeat_after)
        lately = read_events(self.database, self.model, since=since)
        return any((each.kind, each.version) == (kind, version) for each in lately)

    def _renewed(self, event: Event, now: float) -> list[Event]:
        """Retrain when the rules say that this follows from an event."""
        settings = self.rules.monitoring
        follows = {"drift": settings.on_drift, "degradation": settings.on_degradation}.get(event.kind)
        return self._retrained(f"{event.kind}: {event.message}", now) if follows == "retrain" else []

    def _renewed_on_schedule(self, now: float) -> list[Event]:
        every = self.rules.retraining.every
        if every is None:
            return []
        made = datetime.fromisoformat(self._version(self._alias("live")).manifest["created"]).timestamp()
        before = [each.at for each in read_events(self.database, self.model) if each.kind == "retrain"]
        due = max([made, *before]) + duration_seconds(every)
        return self._retrained(f"on schedule, every {every}", now) if now >= due else []

    def _retrained(self, why: str, now: float) -> list[Event]:
        if self.retrain is None:
            self.note("retraining is asked for, and cannot be done here")
            return []
        try:
            words = self.retrain(why)
        except EstimatorError as error:
            words = f"nothing came of retraining: {error.message}"
        version = self._alias("live")
        event = Event(f"{self.model}:{version}:retrain:{now:.0f}", self.model, now, "retrain", version,
                      {"message": words, "why": why})  # fmt: skip
        return [event] if store_event(self.database, event) else []

    def _promoted(self, now: float) -> list[Event]:
        """Promote the candidate, or say that it may be, once truths prove it better."""
        rules = self.rules.promotion
        aliases = self.store.aliases(self.model)
        if rules.mode == "manual" or "candidate" not in aliases:
            return []
        live, candidate = self._alias("live"), self._alias("candidate")
        since = _seconds(self._version(candidate).manifest["created"])
        standing = self._contest(live, candidate, since).step(now - LAG_SECONDS)
        if standing.outcome != "better":
            return []
        if self.database.shadow_count(self.model, candidate, since=since) < rules.shadow_rows:
            return []
        event = self._outcome(standing, "promote", now)
        if rules.mode == "automatic":
            self._move(candidate, "promote", standing)
        return [event] if store_event(self.database, event) else []

    def _rolled_back(self, now: float) -> list[Event]:
        """Go back to the version before, once truths prove that it was better."""
        move = last_promotion(self.store, self.model)
        if not self.rules.promotion.roll_back or move is None or move.previous is None:
            return []
        standing = self._contest(move.version, move.previous, _seconds(move.time)).step(now - LAG_SECONDS)
        if standing.outcome != "better":
            return []
        event = self._outcome(standing, "rollback", now)
        self._move(move.previous, "rollback", standing)
        return [event] if store_event(self.database, event) else []

    def _contest(self, champion: str, challenger: str, since: float) -> Contest:
        key = champion, challenger
        if key not in self._contests:
            # Versions that are no longer compared are let go.
            self._contests = {known: each for known, each in self._contests.items() if champion in known}
            self._contests[key] = Contest(
                self.database, self._version(champion), self._version(challenger), since, self.rules.promotion.alpha
            )
        return self._contests[key]

    def _outcome(self, standing: Standing, kind: str, now: float) -> Event:
        named = f"{self.model}:{standing.challenger}:{kind}:{standing.champion}"
        told = {**standing.to_data()}
        if kind == "promote" and self.rules.promotion.mode == "approval":
            told["next"] = f"estimator promote {self.model}/{standing.challenger} approves it"
        return Event(named, self.model, now, kind, standing.challenger, told)  # type: ignore[arg-type] # one of two kinds

    def _move(self, version: str, action: str, standing: Standing) -> None:
        self.store.point(self.model, "live", version, action=action, reason=standing.message, moment=Moment.now())
        self.note(f"live is now {version}: {standing.message}")


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def last_promotion(store: Store, model: str) -> AliasChange | None:
    """Return the move that made the live version live, when it was a promotion."""
    live = store.aliases(model).get("live")
    moves = [move for move in store.history(model) if move.alias == "live"]
    last = moves[-1] if moves else None
    return last if last is not None and last.version == live and last.action == "promote" else None


def words_of(made: Check) -> str:
    """Return what a check came to, in a sentence."""
    told = f"{made.rows:,} rows, p {made.p_value:.2g} at a level of {made.level:.2g}"
    return f"drift: {told}" if made.drifted else f"as in training: {told}"
