"""Alerts: events to webhooks, Slack and mail, each once, and again until it is delivered."""

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
from estimator.core.clock import iso_time
from estimator.core.credentials import redacted, redacted_data
from estimator.data.sources.address import Address, locate
from estimator.errors import EstimatorError, MonitoringError
from estimator.monitoring.events import Event
from estimator.prediction_log import PredictionLog

TIMEOUT_SECONDS = 10.0
# Pauses between attempts; an event that is still undelivered is tried again with the next events, for a day.
PAUSES_SECONDS = (0.5, 2.0)
MAX_AGE_SECONDS = 86_400.0
MAX_EXAMPLES = 5
MAX_COLUMNS = 5
INSERT_DELIVERY = "INSERT INTO alert_deliveries (event_id, recipient) VALUES (?, ?) ON CONFLICT DO NOTHING"
FIND_DELIVERY = "SELECT 1 FROM alert_deliveries WHERE event_id = ? AND recipient = ?"
WEB_SCHEMES, MAIL_SCHEMES = ("http", "https"), ("smtp", "smtps")


def send_alerts(
    log: PredictionLog,
    events: Sequence[Event],
    alerts: Sequence[Alert],
    environment: Mapping[str, str],
    *,
    now: float,
    note: Callable[[str], None] = lambda text: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Send each event to each recipient that has not received it; a failure is noted and tried again next time."""
    for alert in alerts:
        for event in events:
            is_old = now - event.found_at > MAX_AGE_SECONDS
            # A program may want every check, people only what is new to them.
            is_quiet = event.kind == "check" and alert.kind != "webhook"
            if is_old or is_quiet or log.query(FIND_DELIVERY, [event.id, alert.url]):
                continue
            try:
                _deliver(alert, event, environment, pause)
            except EstimatorError as error:
                note(error.message)
                break
            log.execute_many(INSERT_DELIVERY, [(event.id, alert.url)])


def check_alerts(alerts: Sequence[Alert], environment: Mapping[str, str]) -> None:
    """Reject alerts that can never be delivered.

    Raises
    ------
    MonitoringError, SourceError: a URL has the wrong scheme, or a variable in it is not set.
    """
    for alert in alerts:
        address, schemes = locate(alert.url, environment), MAIL_SCHEMES if alert.kind == "mail" else WEB_SCHEMES
        if address.scheme not in schemes:
            expected = " or ".join(f"{scheme}://" for scheme in schemes)
            raise MonitoringError(f"monitoring.alerts: {address.name}: expected {expected}", hint=f"kind: {alert.kind}")


def _deliver(alert: Alert, event: Event, environment: Mapping[str, str], pause: Callable[[float], None]) -> None:
    address = locate(alert.url, environment)
    send = _send_mail if alert.kind == "mail" else _post
    for attempt in range(len(PAUSES_SECONDS) + 1):
        try:
            return send(address, alert, event)
        except (OSError, smtplib.SMTPException) as error:
            problem = address.scrubbed(str(getattr(error, "reason", error)))
            # Other client errors will not go away within seconds.
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429:
                break
            if attempt < len(PAUSES_SECONDS):
                pause(PAUSES_SECONDS[attempt])
    raise MonitoringError(f"{address.name}: the alert about {event.kind} of {event.model} was not delivered: {problem}")


def _post(address: Address, alert: Alert, event: Event) -> None:
    content = {"text": alert_text(event)} if alert.kind == "slack" else alert_data(event)
    headers = {"Content-Type": "application/json", "User-Agent": "estimator"}
    request = urllib.request.Request(address.url, json.dumps(content).encode(), headers)  # noqa: S310 # see check_alerts
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 # see check_alerts
        response.read()


def _send_mail(address: Address, alert: Alert, event: Event) -> None:
    url = urlsplit(address.url)
    is_tls = url.scheme == "smtps"
    host, port = url.hostname or "localhost", url.port or (465 if is_tls else 25)
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
        if is_tls
        else smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    ) as server:
        server.ehlo()
        if not is_tls and server.has_extn("starttls"):
            server.starttls(context=context)
            is_tls = True
        if url.username and not is_tls:
            raise MonitoringError(f"{address.name}: the server offers no TLS, so the password is not sent")
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        server.send_message(_mail(alert, event))


def _mail(alert: Alert, event: Event) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = f"[{event.model}] {event.kind}"
    message["From"], message["To"] = str(alert.sender), ", ".join(alert.to)
    message.set_content(alert_text(event))
    return message


def alert_data(event: Event) -> dict[str, object]:
    """Return an event as JSON-ready data for a webhook, without the values of example rows."""
    details = redacted_data({name: value for name, value in event.details.items() if name != "examples"})
    return {
        "id": event.id,
        "model": event.model,
        "version": event.version,
        "at": iso_time(event.at),
        "kind": event.kind,
        **details,
    }


def alert_text(event: Event) -> str:
    """Return an event as text for Slack, mail and the terminal."""
    details = event.details
    lines = [f"{event.model} {event.version}: {event.message}"]
    lines += [f"  {moved['column']}: {moved['message']}" for moved in details.get("columns", [])[:MAX_COLUMNS]]
    if "predictions" in details:
        lines.append(f"  predictions: {details['predictions']['message']}")
    if ids := [example["id"] for example in details.get("examples", []) if "id" in example]:
        lines.append(f"  example rows: {', '.join(ids[:MAX_EXAMPLES])}")
    if "next" in details:
        lines.append(f"next: {details['next']}")
    return redacted("\n".join(lines))
