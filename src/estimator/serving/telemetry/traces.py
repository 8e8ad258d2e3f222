"""OpenTelemetry: one span per request, sent to the collector that the OTEL_ environment variables name."""

from __future__ import annotations

from estimator.errors import needs_extra
from estimator.serving.telemetry.exchange import Exchange

NANOSECONDS_PER_SECOND = 1_000_000_000


class Traces:
    """Sends finished exchanges as spans (OTLP over HTTP), within the trace of their `traceparent` header.

    A thread sends them in batches. Spans hold no value of any row.
    """

    def __init__(self, service_name: str) -> None:
        with needs_extra("traces", "serving.traces"):
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        self._provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("estimator")
        self._server_kind, self._error_status = trace.SpanKind.SERVER, trace.Status(trace.StatusCode.ERROR)
        self._propagator = TraceContextTextMapPropagator()

    def record(self, exchange: Exchange) -> None:
        """Send an exchange as a span."""
        carrier = {"traceparent": exchange.traceparent}
        context = self._propagator.extract(carrier) if exchange.traceparent else None
        start = int(exchange.at * NANOSECONDS_PER_SECOND)
        attributes: dict[str, str | int] = {
            "http.request.method": exchange.method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            "estimator.request_id": exchange.id,
            "estimator.model": exchange.model,
            "estimator.version": exchange.version,
            "estimator.rows": exchange.n_rows,
        }
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.route}",
            context=context,
            kind=self._server_kind,
            attributes=attributes,
            start_time=start,
        )
        if exchange.status >= 500:
            span.set_status(self._error_status)
        span.end(start + int(exchange.duration_seconds * NANOSECONDS_PER_SECOND))

    def close(self) -> None:
        """Send what is queued, and stop."""
        self._provider.shutdown()
