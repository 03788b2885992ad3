# The web server and the worker; docker-compose.yml says which of them a container is.

FROM node:22-slim AS pages
WORKDIR /pages
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM python:3.12-slim
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRAINHUB_DATA_DIR=/data \
    TRAINHUB_HOST=0.0.0.0 \
    TRAINHUB_PRODUCTION=true \
    TRAINHUB_STATIC_ROOT=/app/staticfiles

# Fonts for pictures of curves as PNG, Latin and Chinese: 4 MB. git and ssh: code from repositories.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends fonts-wqy-microhei git openssh-client \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home trainhub \
    && install --directory --owner trainhub --group trainhub /data
WORKDIR /app

COPY requirements.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements.lock

# requirements-ray.txt for a worker that submits to Ray.
ARG EXTRA_REQUIREMENTS=""
COPY requirements-ray.txt .
RUN test -z "$EXTRA_REQUIREMENTS" || \
    pip install --no-cache-dir --disable-pip-version-check --requirement "$EXTRA_REQUIREMENTS"

# Debian's munge slurm-client slurmctld slurmd for a Slurm to try. The key that munge's installation
# makes would be that of everybody who has the image.
ARG SLURM_PACKAGES=""
RUN test -z "$SLURM_PACKAGES" || { \
    apt-get update \
    && apt-get install --yes --no-install-recommends $SLURM_PACKAGES \
    && rm -rf /var/lib/apt/lists/* /etc/munge/munge.key \
    && install --directory --owner trainhub --group trainhub /slurm; }

COPY . .
COPY --from=pages /pages/node_modules node_modules
# The key is for this step alone; a container gets its own when it starts.
RUN TRAINHUB_SECRET_KEY=unused python manage.py collectstatic --no-input --verbosity 0

USER trainhub
VOLUME /data
EXPOSE 8000
CMD ["python", "manage.py", "serve"]
