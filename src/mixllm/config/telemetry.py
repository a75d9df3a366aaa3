"""The section ``telemetry``: where traces go."""

from __future__ import annotations

from mixllm.config.section import Section
from mixllm.errors import InvalidValueError
from mixllm.units import fraction

__all__ = ["TelemetryConfig"]


class TelemetryConfig(Section, frozen=True, kw_only=True):
    """Traces by OpenTelemetry; needs the extra ``otel``.

    Parameters
    ----------
    otlp_endpoint
        Where spans are sent, by OTLP over HTTP: ``http://collector:4318/v1/traces``. None: there are none. Headers for
        it come from ``OTEL_EXPORTER_OTLP_HEADERS``.
    service_name
        What the gateway calls itself.
    sample_share
        Share of the requests without a trace of their own that are traced.
    """

    otlp_endpoint: str | None = None
    service_name: str = "mixllm"
    sample_share: float = 1.0

    def __post_init__(self) -> None:
        if self.otlp_endpoint is not None and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise InvalidValueError(
                "otlp_endpoint", self.otlp_endpoint, "a URL such as http://127.0.0.1:4318/v1/traces"
            )
        if not self.service_name.strip():
            raise InvalidValueError("service_name", self.service_name, "more than blanks")
        fraction("sample_share", self.sample_share)
