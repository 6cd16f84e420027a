# The command `superpoint` on a CPU, with ONNX Runtime, OpenVINO and the sample photographs.
#
#   docker build -t superpoint .
#   docker run --rm -v "$PWD":/work superpoint detect photos --out pictures
FROM python:3.11-slim

# PyTorch's own index has the build for CPUs; the one on PyPI brings CUDA, some gigabytes.
COPY constraints.txt /src/
RUN pip install --no-cache-dir -c /src/constraints.txt --no-deps --index-url https://download.pytorch.org/whl/cpu torch
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[export,samples]'

WORKDIR /work
ENTRYPOINT ["superpoint"]
CMD ["--help"]
