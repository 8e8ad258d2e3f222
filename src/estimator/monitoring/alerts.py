"""Events -> those who asked to be told, by webhook, Slack or mail: each once, and tried again until it arrives."""

from __future__ import annotations

import json
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from estimator.config import Alert
from estimator.data.sources.address import Address, locate
from estimator.errors import EstimatorError, MonitoringError
from estimator.monitoring.events import Event
from estimator.prediction_log import PredictionLog

PATIENCE = 10.0
# Seconds between tries; what has not arrived by then is tried again with the next events, for a day.
PAUSES = (0.5, 2.0)
DAY = 86_400.0
KEEP = "INSERT INTO alert_deliveries (event_id, recipient) VALUES (?, ?) ON CONFLICT DO NOTHING"
WEB, MAIL = ("http", "https"), ("smtp", "smtps")


def tell(
    database: PredictionLog, events: Sequence[Event], alerts: Sequence[Alert], environment: Mapping[str, str], *,
    now: float, note: Callable[[str], None] = lambda text: None, pause: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Tell everybody of events who has not been told; what cannot be delivered is noted, and tried again later."""
    if not alerts or not events:
        return
    for alert in alerts:
        for event in events:
            if now - event.at > DAY or database.query(
                "SELECT 1 FROM alert_deliveries WHERE event_id = ? AND recipient = ?", [event.id, alert.url]
            ):
                continue
            try:
                _deliver(alert, event, environment, pause)
            except EstimatorError as error:
                note(error.message)
                break
            database.execute_many(KEEP, [(event.id, alert.url)])


def check_alerts(alerts: Sequence[Alert], environment: Mapping[str, str]) -> None:
    """Refuse what can never arrive.

    Raises
    ------
    MonitoringError, SourceError: an address is of another kind, or a variable in it is not set.
    """
    for alert in alerts:
        address, wanted = locate(alert.url, environment), MAIL if alert.kind == "mail" else WEB
        if address.scheme not in wanted:
            raise MonitoringError(
                f"monitoring.alerts: {address.name}: expected {' or '.join(f'{each}://' for each in wanted)}",
                hint=f"kind: {alert.kind}",
            )


def _deliver(alert: Alert, event: Event, environment: Mapping[str, str], pause: Callable[[float], None]) -> None:
    address = locate(alert.url, environment)
    send = _mail if alert.kind == "mail" else _post
    for place in range(len(PAUSES) + 1):
        try:
            return send(address, alert, event)
        except (OSError, smtplib.SMTPException) as error:
            problem = address.scrubbed(str(getattr(error, "reason", error)))
            # What is refused for good is refused again.
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429:
                break
            if place < len(PAUSES):
                pause(PAUSES[place])
    raise MonitoringError(f"{address.name}: {event.kind} of {event.model} was not told: {problem}")


def _post(address: Address, alert: Alert, event: Event) -> None:
    content = {"text": text_of(event)} if alert.kind == "slack" else data_of(event)
    request = urllib.request.Request(  # noqa: S310 # http and https alone, see check_alerts
        address.url, json.dumps(content).encode(), {"Content-Type": "application/json", "User-Agent": "estimator"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 # the same
        answer.read()


def _mail(address: Address, alert: Alert, event: Event) -> None:
    parts = urlsplit(address.url)
    message = EmailMessage()
    message["Subject"] = f"[{event.model}] {event.kind}"
    message["From"], message["To"] = str(alert.sender), ", ".join(alert.to)
    message.set_content(text_of(event))
    context = ssl.create_default_context()
    host, port = parts.hostname or "localhost", parts.port or (465 if parts.scheme == "smtps" else 25)
    is_tls = parts.scheme == "smtps"
    opened = (
        smtplib.SMTP_SSL(host, port, timeout=PATIENCE, context=context)
        if is_tls
        else smtplib.SMTP(host, port, timeout=PATIENCE)
    )
    with opened as server:
        server.ehlo()
        if not is_tls and server.has_extn("starttls"):
            server.starttls(context=context)
            is_tls = True
        if parts.username and not is_tls:
            raise MonitoringError(f"{address.name}: takes no TLS, so that the password would be read by others")
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)


def data_of(event: Event) -> dict[str, object]:
    """Return an event as a webhook is told it, without any value of a row."""
    told = {name: value for name, value in event.details.items() if name != "examples"}
    return {"id": event.id, "model": event.model, "version": event.version, "at": event.at, "kind": event.kind, **told}


def text_of(event: Event) -> str:
    """Return an event as people read it."""
    lines = [f"{event.model} {event.version}: {event.message}"]
    lines += [f"  {moved['column']}: {moved['message']}" for moved in event.details.get("columns", [])[:5]]
    if "answers" in event.details:
        lines.append(f"  answers: {event.details['answers']['message']}")
    if "next" in event.details:
        lines.append(f"next: {event.details['next']}")
    return "\n".join(lines)
