# syntax=docker/dockerfile:1
# The gateway alone: docker build -t mixllm . && docker run -p 8080:8080 -v ./mixllm.yaml:/etc/mixllm/mixllm.yaml:ro mixllm
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY constraints ./constraints
COPY src ./src
RUN python -m venv /opt/mixllm \
    && /opt/mixllm/bin/pip install --no-cache-dir --disable-pip-version-check ".[gateway,postgres,otel]"

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mixllm \
    && install -d -o mixllm -g mixllm /var/lib/mixllm /etc/mixllm
COPY --from=build /opt/mixllm /opt/mixllm
ENV PATH=/opt/mixllm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MIXLLM_CONFIG=/etc/mixllm/mixllm.yaml
# By number, so that Kubernetes can see that it is not root.
USER 10001
WORKDIR /var/lib/mixllm
VOLUME /var/lib/mixllm
EXPOSE 8080
# Its own interpreter asks: the image has no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["mixllm"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080", "--log-format", "json"]
