"""A span per request for OpenTelemetry, sent to where the OTEL_ variables of the environment say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estimator.errors import needs_extra

if TYPE_CHECKING:
    from estimator.serving.telemetry.exchange import Exchange

NANOSECONDS = 1_000_000_000


class Traces:
    """Writes exchanges that are over as spans (OTLP over HTTP), of the trace that a `traceparent` names.

    A thread sends them in batches; no value of any row is in them.
    """

    def __init__(self, service: str) -> None:
        with needs_extra("traces", "serving.traces"):
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("estimator")
        self._server, self._status = trace.SpanKind.SERVER, trace.Status(trace.StatusCode.ERROR)
        self._propagator = TraceContextTextMapPropagator()

    def record(self, done: Exchange) -> None:
        """Write an exchange down."""
        context = self._propagator.extract({"traceparent": done.parent}) if done.parent else None
        started = int(done.at * NANOSECONDS)
        told: dict[str, str | int] = {
            "http.request.method": done.method, "http.route": done.route, "http.response.status_code": done.status,
            "estimator.request": done.name, "estimator.model": done.model, "estimator.version": done.version,
            "estimator.rows": done.n_rows,
        }  # fmt: skip
        span = self._tracer.start_span(
            f"{done.method} {done.route}", context=context, kind=self._server, attributes=told, start_time=started
        )
        if done.status >= 500:
            span.set_status(self._status)
        span.end(started + int(done.seconds * NANOSECONDS))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()
