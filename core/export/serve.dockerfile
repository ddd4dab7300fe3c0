# Serves the export in this folder with ONNX Runtime: neither torch nor Ray is installed.
#
# It needs this project's wheel beside it, made once in a checkout of the project:
#     pip wheel --no-deps --wheel-dir EXPORT .
# Then, in this folder:
#     docker build --tag forecasts .
#     docker run --publish 127.0.0.1:8000:8000 --volume forecasts:/state forecasts
# Add --env HPO_SERVE_TOKEN=... before other machines may reach it.
FROM python:3.12-slim

RUN pip install --no-cache-dir \
    "fastapi>=0.120" \
    "jaxtyping>=0.3" \
    "jsonschema>=4.20" \
    "numpy>=2.1" \
    "onnxruntime>=1.20" \
    "prometheus-client>=0.22" \
    "pyarrow>=22" \
    "rich>=14" \
    "safetensors>=0.6" \
    "typer>=0.29" \
    "uvicorn>=0.35"

# The wheel alone: what it also requires is for training and searching.
COPY *.whl /wheels/
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

COPY manifest.json live.onnx graph.safetensors usual_day.safetensors intervals.safetensors /export/
RUN useradd --create-home forecasts && install --directory --owner forecasts /state
USER forecasts
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=30s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health')"]
CMD ["hpo", "serve", "/export", "--host", "0.0.0.0", "--port", "8000", "--state", "/state"]
