"""The monitoring loop: log -> tests -> events -> alerts, then retraining, promotion and rollback as the config says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from estimator.config import Monitoring, Promotion, Retraining
from estimator.config.monitoring import duration_seconds
from estimator.core.clock import Moment, iso_time
from estimator.core.text import counted
from estimator.errors import EstimatorError
from estimator.monitoring.alerts import send_alerts
from estimator.monitoring.budget import FalseAlarmBudget
from estimator.monitoring.candidates import WITH_OLD_ROWS
from estimator.monitoring.decision import HoldoutEvidence
from estimator.monitoring.diagnosis import diagnose, evidence
from estimator.monitoring.drift_check import MIN_ROWS, DriftCheck
from estimator.monitoring.events import Event, EventKind, claim, read_events, release, store_event
from estimator.monitoring.follower import LAG_SECONDS, LogFollower
from estimator.monitoring.promotion import ShadowComparison
from estimator.monitoring.records import RecordReader, check_records
from estimator.monitoring.rejections import RejectionMonitor
from estimator.monitoring.silence import SilenceMonitor
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.history import AliasChange
from estimator.store.store import Store

if TYPE_CHECKING:
    from estimator.monitoring.retrain import Retrainer

# How long a process that has died keeps others from monitoring; the state is stored twice as often.
LEASE_SECONDS = 30.0
MAX_CHECKED_ROWS = 20_000
# Of fewer rows after a change, candidates can neither learn it nor be compared.
MIN_LABELS_AFTER_CHANGE = 100
CANNOT_RETRAIN = "retraining is due, but this process cannot retrain"
# How long ago an event may have happened that is found, and sent, only now.
ALERT_SECONDS = 31 * 86_400.0


@dataclass(frozen=True)
class LoopSettings:
    """The sections of a config that the loop follows."""

    monitoring: Monitoring
    retraining: Retraining
    promotion: Promotion


@dataclass
class MonitorLoop:
    """Monitors one model of a store by its log and acts on its settings; of several processes one does at a time.

    Without a `retrainer`, an alarm that should lead to retraining is only reported.
    """

    store: Store
    log: PredictionLog
    model: str
    settings: LoopSettings
    holder: str
    environment: Mapping[str, str] = field(default_factory=dict)
    retrainer: Retrainer | None = None
    note: Callable[[str], None] = lambda text: None
    _follower: LogFollower | None = None
    _silence: SilenceMonitor | None = None
    _rejections: RejectionMonitor | None = None
    _comparisons: dict[tuple[str, str, float], ShadowComparison] = field(default_factory=dict)
    _open_versions: dict[str, Artefact] = field(default_factory=dict)
    _stored_at: float = 0.0
    _next_check_at: float = 0.0
    _renew_lease_at: float = 0.0
    _next_alarm_look_at: float = 0.0
    _noted_alarm: str = ""

    def step(self, now: float) -> list[Event]:
        """Do what is due at a time, in seconds since 1970; return the new events."""
        if not self._has_lease(now):
            return []
        assert self._follower is not None
        assert self._silence is not None
        assert self._rejections is not None
        live = self._alias("live")
        events = self._follower.step(now) + self._silence.step(live, now) + self._rejections.step(live, now)
        events += self._scheduled_check(now)
        events += self._retrain_after_alarm(now, has_news=bool(events))
        if not events:
            events += self._scheduled_retraining(now)
        events += self._promote(now) + self._roll_back(now)
        if events or now - self._stored_at > LEASE_SECONDS / 2:
            self._follower.store()
            self._stored_at = now
        recent = read_events(self.log, self.model, since=now - ALERT_SECONDS)
        send_alerts(self.log, recent, self.settings.monitoring.alerts, self.environment, now=now, note=self.note)
        return events

    def close(self) -> None:
        """Store the state and give up the lease."""
        if self._follower is not None:
            self._follower.store()
            release(self.log, self.model, self.holder)

    def _has_lease(self, now: float) -> bool:
        """Hold or take the lease on the model; with a new lease, continue from the stored state."""
        if self._follower is not None and now < self._renew_lease_at:
            return True
        if not claim(self.log, self.model, self.holder, now, seconds=LEASE_SECONDS):
            self._follower = None
            return False
        self._renew_lease_at = now + LEASE_SECONDS / 3
        if self._follower is None:
            self._follower = LogFollower(
                self.log,
                self.model,
                self.settings.monitoring,
                open_version=self._version,
                live_version=lambda: self._alias("live"),
                holder=self.holder,
            )
            self._follower.restore()
            self._rejections = RejectionMonitor(self.log, self.model, self.settings.monitoring)
            self._silence = SilenceMonitor(self.log, self.model, self.settings.monitoring)
        return True

    def _version(self, name: str) -> Artefact:
        if name not in self._open_versions:
            artefact = open_artefact(self.store.folder(self.model, name))
            self._open_versions = {**dict(list(self._open_versions.items())[-3:]), name: artefact}
        return self._open_versions[name]

    def _alias(self, alias: str) -> str:
        return self.store.find(f"{self.model}@{alias}")[1]

    def _stored(self, event: Event) -> list[Event]:
        """Store an event; return it if it is new."""
        return [event] if store_event(self.log, event) else []

    def _event(self, kind: EventKind, version: str, suffix: str, at: float, details: Mapping[str, object]) -> Event:
        return Event(f"{self.model}:{version}:{kind}:{suffix}", self.model, at, kind, version, details)

    def _scheduled_check(self, now: float) -> list[Event]:
        """Check the rows since the last check, when one is due."""
        settings = self.settings.monitoring
        every_seconds = duration_seconds(settings.every)
        reader = self._follower.reader if self._follower else None
        if reader is None or settings.mode == "rows" or now < self._next_check_at:
            return []
        # With too few rows now, look again before the next check would be due.
        self._next_check_at = now + min(every_seconds / 24.0, 3600.0)
        events = read_events(self.log, self.model)
        checks = [event.at for event in events if event.kind == "check" and "p_value" in event.details]
        since = checks[-1] if checks else now - every_seconds
        if checks and now - since < every_seconds:
            return []
        latest = self.log.latest(self.model, until=now - LAG_SECONDS, limit=MAX_CHECKED_ROWS)
        records = [record for record in latest if record.version == reader.artefact.version and record.at >= since]
        if len(records) < MIN_ROWS:
            return []
        alpha = FalseAlarmBudget.of(settings).alpha(now - since)
        try:
            check = check_records(reader, records, settings, alpha=alpha)
        except EstimatorError as error:
            self.note(f"scheduled check failed: {error.message}")
            return []
        return [stored for event in self._check_events(check, reader, records, now) for stored in self._stored(event)]

    def _check_events(
        self, check: DriftCheck, reader: RecordReader, records: Sequence[PredictionRecord], now: float
    ) -> list[Event]:
        """Return the event of a check, and that of drift unless there was one lately."""
        version, suffix = reader.artefact.version, f"{now:.0f}"
        details = {
            "message": check.message,
            "p_value": check.p_value,
            "alpha": check.alpha,
            "n_rows": check.n_rows,
            "n_repeats": check.n_repeats,
            "findings": list(check.findings),
            "small": list(check.small),
            "without_effect": list(check.without_effect),
            "drifted": check.drifted,
        }
        events = [self._event("check", version, suffix, now, details)]
        if check.drifted and not self._had_lately("drift", version, now):
            diagnosis = diagnose(reader, records, evidence(reader.reference, check))
            drift = {
                **diagnosis.to_data(),
                "message": diagnosis.message,
                "p_value": check.p_value,
                "since": iso_time(records[0].at),
            }
            events.append(self._event("drift", version, suffix, now, drift))
        return events

    def _had_lately(self, kind: EventKind, version: str, now: float) -> bool:
        since = now - duration_seconds(self.settings.monitoring.repeat_after)
        events = read_events(self.log, self.model, since=since)
        return any((event.kind, event.version) == (kind, version) for event in events)

    def _retrain_after_alarm(self, now: float, *, has_news: bool) -> list[Event]:
        """Retrain for an alarm that asks for it, once there are enough labels; without news, look every half minute."""
        if not has_news and now < self._next_alarm_look_at:
            return []
        self._next_alarm_look_at = now + LEASE_SECONDS
        alarm = self._unanswered_alarm()
        if alarm is None:
            return []
        since = str(alarm.details.get("since") or iso_time(alarm.at))
        n_missing = self._n_missing_labels(alarm.version, _seconds(since))
        if self.retrainer is not None and not n_missing:
            return self._retrain(f"{alarm.kind}: {alarm.message}", now, since=_seconds(since))
        if alarm.id != self._noted_alarm:
            self._noted_alarm = alarm.id
            wait = f"retraining waits for {counted(n_missing, 'more label')} of rows since {since}"
            self.note(wait if self.retrainer is not None else CANNOT_RETRAIN)
        return []

    def _unanswered_alarm(self) -> Event | None:
        """Return the first alarm of the live version, since its last retraining, that should lead to one.

        It is read from the events, so that it outlives this process.
        """
        settings, live, alarm = self.settings.monitoring, self._alias("live"), None
        reactions = {"drift": settings.on_drift, "degradation": settings.on_degradation}
        for event in read_events(self.log, self.model):
            if event.version == live and event.kind == "retrain":
                alarm = None
            elif event.version == live and alarm is None and reactions.get(event.kind) == "retrain":
                alarm = event
        return alarm

    def _n_missing_labels(self, version: str, since: float) -> int:
        """Return how many labels a retraining waits for: of rows since a change, and since the last retraining.

        Candidates can only learn a change, and be compared after it, on labels from then on. And each retraining ends
        the comparison of the last candidate, so that it needs as many new labels as the last one had: their number
        doubles from one retraining to the next.
        """
        n_missing = MIN_LABELS_AFTER_CHANGE - self.log.label_count(self.model, since=since)
        done = [
            event
            for event in read_events(self.log, self.model)
            if event.kind == "retrain" and event.version == version and "n_rows" in event.details
        ]
        if done:
            n_since = self.log.label_count(self.model, since=done[-1].at)
            n_missing = max(n_missing, int(done[-1].details["n_rows"]) - n_since)
        return max(n_missing, 0)

    def _scheduled_retraining(self, now: float) -> list[Event]:
        every = self.settings.retraining.every
        if every is None:
            return []
        trained_at = _seconds(self._version(self._alias("live")).manifest["created"])
        retrained_at = [event.at for event in read_events(self.log, self.model) if event.kind == "retrain"]
        due_at = max([trained_at, *retrained_at]) + duration_seconds(every)
        return self._retrain(f"on schedule, every {every}", now) if now >= due_at else []

    def _retrain(self, reason: str, now: float, *, since: float = 0.0) -> list[Event]:
        """Retrain on the labels of the log; candidates are compared on rows after a change, which began at `since`."""
        if self.retrainer is None:
            self.note(CANNOT_RETRAIN)
            return []
        live = self._alias("live")
        n_rows = self.log.label_count(self.model, since=since)
        details: dict[str, object] = {"reason": reason}
        try:
            decision = self.retrainer.retrain_on_log(
                self._version(live), self.log, n_changed=n_rows, reason=reason, note=self.note
            )
            details["message"] = decision.reasons[0]
            details["n_rows"] = min(n_rows, decision.rows["new"] + decision.rows["holdout"])
        except EstimatorError as error:
            details["message"] = f"retraining failed: {error.message}"
        return self._stored(self._event("retrain", live, f"{now:.0f}", now, details))

    def _promote(self, now: float) -> list[Event]:
        """Promote the candidate, or ask for approval, once it meets the criterion."""
        settings = self.settings.promotion
        if settings.mode == "manual" or "candidate" not in self.store.aliases(self.model):
            return []
        live, candidate = self._alias("live"), self._alias("candidate")
        since = _seconds(self._version(candidate).manifest["created"])
        state = self._comparison(live, candidate, since).step(now - LAG_SECONDS)
        kind = self._version(candidate).manifest.get("retraining", {}).get("kind")
        if not state.meets(settings.criterion if kind in WITH_OLD_ROWS else "better"):
            return []
        if self.log.shadow_count(self.model, candidate, since=since) < settings.shadow_rows:
            return []
        details = {**state.to_data(), "message": state.promotion_message}
        if settings.mode == "approval":
            details["next"] = f"to approve: estimator promote {self.model}/{candidate}"
        else:
            self._set_live(candidate, "promote", state.promotion_message)
        return self._stored(self._event("promote", candidate, live, now, details))

    def _roll_back(self, now: float) -> list[Event]:
        """Return to the previous version, once labels prove that it was better."""
        promotion = last_promotion(self.store, self.model)
        if not self.settings.promotion.roll_back or promotion is None or promotion.previous is None:
            return []
        promoted, previous = promotion.version, promotion.previous
        # The time is to the second: labels of what came earlier in that second do not count.
        since = _seconds(promotion.time) + 1.0
        state = self._comparison(promoted, previous, since).step(now - LAG_SECONDS)
        if not state.is_better:
            return []
        self._set_live(previous, "rollback", state.message)
        return self._stored(self._event("rollback", previous, promoted, now, state.to_data()))

    def _comparison(self, champion: str, challenger: str, since: float) -> ShadowComparison:
        """Return the comparison on the rows since a time; a candidate starts with what its retraining has shown."""
        key = champion, challenger, since
        if key not in self._comparisons:
            # Comparisons with versions that are no longer live are dropped.
            self._comparisons = {
                others: comparison for others, comparison in self._comparisons.items() if champion in others
            }
            # Only retrainings leave evidence, and those keep it next to the versions of a store in a folder.
            evidence = HoldoutEvidence.find(self.store.storage.disk / self.model, live=champion, candidate=challenger)
            self._comparisons[key] = ShadowComparison(
                self.log,
                self._version(champion),
                self._version(challenger),
                since,
                self.settings.promotion.alpha,
                evidence.gains,
                evidence.n_candidates,
            )
        return self._comparisons[key]

    def _set_live(self, version: str, action: str, reason: str) -> None:
        self.store.point(self.model, "live", version, action=action, reason=reason, moment=Moment.now())
        self.note(f"live is now {version}: {reason}")


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def last_promotion(store: Store, model: str) -> AliasChange | None:
    """Return the change that made the live version live, if it was a promotion."""
    live = store.aliases(model).get("live")
    changes = [change for change in store.history(model) if change.alias == "live"]
    last = changes[-1] if changes else None
    return last if last is not None and last.version == live and last.action == "promote" else None
