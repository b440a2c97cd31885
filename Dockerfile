# Two images from one file: "render" carries only what an open needs (no SQL, no RQ, no pandas, no scikit-learn);
# "full" carries everything else: web, signals, workers, scheduler, recorder.
FROM docker.io/library/python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 LATEBIND_BIND=0.0.0.0 LATEBIND_VAR=/var/lib/latebind
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home latebind && install -d -o latebind /var/lib/latebind
WORKDIR /srv/latebind

FROM base AS render
COPY requirements-render.lock ./
RUN pip install --require-hashes -r requirements-render.lock
COPY pyproject.toml README.md gunicorn.conf.py ./
COPY base base
COPY signals signals
COPY render render
RUN chown -R latebind /srv/latebind
USER latebind
CMD ["gunicorn", "-c", "gunicorn.conf.py", "render.app:from_environment()"]

FROM base AS assets
COPY package.json package-lock.json .npmrc Makefile ./
COPY --from=docker.io/library/node:24-slim /usr/local/bin/node /usr/local/bin/node
COPY --from=docker.io/library/node:24-slim /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN node /usr/local/lib/node_modules/npm/bin/npm-cli.js ci --ignore-scripts --no-audit --no-fund

FROM base AS full
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY . .
COPY --from=assets /srv/latebind/node_modules node_modules
RUN pip install --no-deps -e . && python -m campaigns.assets && rm -rf node_modules && chown -R latebind /srv/latebind
USER latebind
CMD ["latebind", "--help"]
