"""Settings from the environment and an optional ``.env`` next to manage.py. See .env.example.

Importing this module starts no process and opens no connection. System checks
(trainhub/checks.py) report contradictory settings before anything runs.
"""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import global_settings
from django.utils.translation import gettext_lazy as _

from trainhub.artifact_urls import artifact_storage_options
from trainhub.environment import Env
from trainhub.secret_key import kept_secret_key
from trainhub.up.embedded_postgres import connection_parameters

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
Env.read_env(BASE_DIR / ".env")

# --- Data directory, address and access ------------------------------------------------------

DATA_DIR = Path(env.str("TRAINHUB_DATA_DIR", default=str(BASE_DIR / "var"))).expanduser().resolve()
HOST = env.str("TRAINHUB_HOST", default="127.0.0.1")
PORT = env.int("TRAINHUB_PORT", default=8000)

PRODUCTION = env.bool("TRAINHUB_PRODUCTION", default=False)
# No sign-in: everyone is the local administrator. Only on loopback, never in production.
OPEN_MODE = env.bool("TRAINHUB_OPEN_MODE", default=not PRODUCTION)

DEBUG = env.bool("TRAINHUB_DEBUG", default=False)
LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
# Strict, against DNS rebinding: a website whose host name resolves to 127.0.0.1 is refused.
ALLOWED_HOSTS = env.list("TRAINHUB_ALLOWED_HOSTS", default=LOOPBACK_HOSTS)
CSRF_TRUSTED_ORIGINS = env.list("TRAINHUB_CSRF_TRUSTED_ORIGINS", default=[])
# The base URL of links and of the address that is printed; by default where the server listens.
URL_HOST = f"[{HOST.strip('[]')}]" if ":" in HOST else HOST  # IPv6
PUBLIC_URL = env.str("TRAINHUB_PUBLIC_URL", default=f"http://{URL_HOST}:{PORT}")


# If empty: the embedded PostgreSQL in the data directory, started by `manage.py up`.
DATABASE_URL = env.str("DATABASE_URL", default="")
# Other hosts may use the database, too, and read what is encrypted there: none makes up a key.
SECRET_KEY_MISSING = (
    PRODUCTION
    and bool(DATABASE_URL)
    and not env.str("TRAINHUB_SECRET_KEY", default="")
    and not (DATA_DIR / "secret_key").exists()
)


def secret_key() -> str:
    """The key from the environment, or a generated one stored in the data directory."""
    from_environment: str = env.str("TRAINHUB_SECRET_KEY", default="")
    if from_environment:
        return from_environment
    if SECRET_KEY_MISSING:  # which a system check reports
        return secrets.token_urlsafe(64)
    try:
        return kept_secret_key(DATA_DIR / "secret_key")
    except OSError:
        # The data directory is unusable, which a system check reports. Use a temporary key.
        return secrets.token_urlsafe(64)


SECRET_KEY = secret_key()
SECRET_KEY_FALLBACKS = env.list("TRAINHUB_SECRET_KEY_FALLBACKS", default=[])

# --- Applications ----------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "accounts.oidc.apps.AllauthAccountConfig",
    "allauth",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "rest_framework",
    "simple_history",
    "trainhub",
    "core",
    "accounts",
    "projects",
    "audit",
    "runs",
    "metrics",
    "logs",
    "artifacts",
    "code_bundles",
    "registry",
    "goodput",
    "sweeps",
    "notices",
    "execution",
    "tracking",
    "dashboard",
    "agents",
]

MIDDLEWARE = ["core.middleware.PagesMiddleware"]
# For pages only (core/pages.py). API clients authenticate in accounts/authentication.py, and the
# first three have their part in PagesMiddleware.
PAGES_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "core.security_headers.SecurityHeadersMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.OpenModeMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "projects.middleware.RoleMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "core.middleware.DomainErrorMiddleware",
    "core.refused_methods.RefusedMethodMiddleware",
]
# Expected in MIDDLEWARE, but in PAGES_MIDDLEWARE: that of the admin, of security, against framing
# and forgery.
SILENCED_SYSTEM_CHECKS = [
    "admin.E408",
    "admin.E409",
    "admin.E410",
    "security.W001",
    "security.W002",
    "security.W003",
]

ROOT_URLCONF = "trainhub.urls"
WSGI_APPLICATION = "trainhub.wsgi.application"
APPEND_SLASH = False  # the contract's paths have none, and a redirect would drop the body of a POST

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.open_mode",
                "projects.context_processors.may",
                "dashboard.theme.theme",
            ],
        },
    },
]

# --- Database --------------------------------------------------------------------------------

EMBEDDED_POSTGRES_DIR = DATA_DIR / "postgres"


def embedded_database() -> dict[str, Any]:
    """Connection settings of the embedded server. Does not start it."""
    at = connection_parameters(EMBEDDED_POSTGRES_DIR)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": at["dbname"],
        "USER": at["user"],
        "HOST": at["host"],
        "PORT": str(at["port"]),
    }


DATABASES: dict[str, dict[str, Any]] = {
    "default": env.postgres(DATABASE_URL) if DATABASE_URL else embedded_database()
}
DATABASES["default"]["CONN_MAX_AGE"] = 600  # seconds; each thread keeps a connection
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# A server that is gone is noticed within half a minute. DATABASE_URL may say otherwise.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 5,  # seconds, like these
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
    **DATABASES["default"].get("OPTIONS", {}),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A worker without a heartbeat for this long loses its runs to other workers.
WORKER_LEASE_SECONDS = env.float("TRAINHUB_WORKER_LEASE_SECONDS", default=30.0)
# How long anything waits for a lock, and the statement of a request takes; 0: without limit.
LOCK_SECONDS = env.float("TRAINHUB_LOCK_SECONDS", default=5.0)
STATEMENT_SECONDS = env.float("TRAINHUB_STATEMENT_SECONDS", default=30.0)
# A process that stops in the midst of a transaction loses it, and its locks, long before its
# lease, and before those who wait for them give up.
IDLE_TRANSACTION_SECONDS = min(4.0, WORKER_LEASE_SECONDS / 2)


def milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


# Of every session, and of those of the web server also: see core/sessions.py.
SESSION_LIMITS = {
    "lock_timeout": milliseconds(LOCK_SECONDS),
    "idle_in_transaction_session_timeout": milliseconds(IDLE_TRANSACTION_SECONDS),
}
STATEMENT_TIMEOUT = milliseconds(STATEMENT_SECONDS)

# --- Artifacts -------------------------------------------------------------------------------

# The bucket in the URIs s3://{bucket}/{project}/{run}/{file} that the API returns.
ARTIFACTS_BUCKET = env.str("TRAINHUB_ARTIFACTS_BUCKET", default="artifacts")
# Where files are stored: s3://bucket?endpoint_url=…, or empty for the data directory.
ARTIFACTS_URL = env.str("TRAINHUB_ARTIFACTS_URL", default="")
# Clients may send and fetch bytes at S3 themselves, by presigned URLs.
S3_DIRECT = env.bool("TRAINHUB_S3_DIRECT", default=False)
# Where clients reach S3, if that is not the endpoint_url above.
S3_PUBLIC_ENDPOINT = env.str("TRAINHUB_S3_PUBLIC_ENDPOINT", default="")

# --- Static files ----------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("TRAINHUB_STATIC_ROOT", default=str(DATA_DIR / "static")))
STATICFILES_DIRS: list[Any] = [BASE_DIR / "static"]
for package in ("uplot", "idiomorph"):  # of package.json
    if (dist := BASE_DIR / "node_modules" / package / "dist").exists():
        STATICFILES_DIRS.append((package, dist))

STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "trainhub.static_storage.StaticFilesStorage"},
    "artifacts": artifact_storage_options(ARTIFACTS_URL, DATA_DIR / "artifacts"),
}

# --- Language and time -----------------------------------------------------------------------

LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
# Of answers to clients that ask for no language that there is.
LANGUAGE_CODE = env.choice(
    "TRAINHUB_LANGUAGE", [code for code, _name in LANGUAGES], default="zh-hans"
)
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "trainhub.formats"  # of the admin's times

# --- Sign-in ---------------------------------------------------------------------------------

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/dashboard"
LOGOUT_REDIRECT_URL = "/dashboard"
AUTHENTICATION_BACKENDS = ["accounts.sign_in.backend.LimitedPasswords"]
PASSWORD_HASHERS = [
    "accounts.sign_in.hashing.PatientPBKDF2PasswordHasher",
    *global_settings.PASSWORD_HASHERS[1:],  # read, and hashed anew at the next sign-in
]
PASSWORD_RESET_TIMEOUT = 24 * 3600  # seconds; the mail says a day
# Whom people without e-mail ask for a new password: a name, an address, a channel.
CONTACT = env.str("TRAINHUB_CONTACT", default="")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# A proxy terminates TLS. Otherwise cookies are also sent over plain HTTP, which production refuses
# unless it is told to do without: trainhub/checks.py.
HTTPS = env.bool("TRAINHUB_HTTPS", default=False)
PLAIN_HTTP = env.bool("TRAINHUB_PLAIN_HTTP", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
# Forms have the token in a field: no script reads the cookie.
CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
# Browsers take a cookie of this name only over HTTPS, from this very host (RFC 6265bis, 4.1.3.2).
COOKIE_PREFIX = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "core.errors.csrf_failure"
# Whose X-Forwarded-For is believed: addresses or networks of the proxies in front.
TRUSTED_PROXIES = env.networks("TRAINHUB_TRUSTED_PROXIES")

# OpenID Connect; without an issuer there is none.
OIDC_ISSUER = env.str("TRAINHUB_OIDC_ISSUER", default="").rstrip("/")
# Other origins that forms may lead to, by redirects too: those of identity providers.
CSP_FORM_ORIGINS = env.list("TRAINHUB_CSP_FORM_ORIGINS", default=[])
if OIDC_ISSUER:
    CSP_FORM_ORIGINS = ["{0.scheme}://{0.netloc}".format(urlsplit(OIDC_ISSUER)), *CSP_FORM_ORIGINS]
OIDC_NAME = env.str("TRAINHUB_OIDC_NAME", default="OpenID Connect")
OIDC_CLIENT_ID = env.str("TRAINHUB_OIDC_CLIENT_ID", default="")
# The domains of verified e-mail addresses that may sign in; empty: all whom the provider knows.
OIDC_DOMAINS = env.list("TRAINHUB_OIDC_DOMAINS", default=[])
# Whether whoever signs in for the first time gets an account.
OIDC_CREATE_USERS = env.bool("TRAINHUB_OIDC_CREATE_USERS", default=False)
# "claim=value": the claim that makes operators; empty: operators do, in the admin.
OIDC_OPERATORS = env.str("TRAINHUB_OIDC_OPERATORS", default="")
SOCIALACCOUNT_ADAPTER = "accounts.oidc.adapters.ProviderAdapter"
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": env.str("TRAINHUB_OIDC_CLIENT_SECRET", default=""),
                "settings": {"server_url": OIDC_ISSUER},
            }
        ],
    }
}
ACCOUNT_ADAPTER = "accounts.oidc.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"  # the provider's word counts, or there is no address
ACCOUNT_USERNAME_BLACKLIST = ["admin"]  # open mode's own

# --- E-mail ----------------------------------------------------------------------------------

smtp = env.smtp("TRAINHUB_EMAIL_URL")
EMAIL_CONFIGURED = bool(smtp["host"])
EMAIL_HOST, EMAIL_PORT = smtp["host"], smtp["port"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = smtp["user"], smtp["password"]
EMAIL_USE_TLS, EMAIL_USE_SSL = smtp["scheme"] == "smtp+tls", smtp["scheme"] == "smtp+ssl"
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("TRAINHUB_EMAIL_FROM", default="trainhub@localhost")

# --- Audit -----------------------------------------------------------------------------------

# For how many days entries are kept.
AUDIT_DAYS = env.float("TRAINHUB_AUDIT_DAYS", default=730.0)

# --- Checkpoints -----------------------------------------------------------------------------

# For how many days removed checkpoints stay in the trash before their bytes are deleted.
CHECKPOINT_TRASH_DAYS = env.float("TRAINHUB_CHECKPOINT_TRASH_DAYS", default=7.0)

# --- Webhooks ----------------------------------------------------------------------------------

# Whether webhooks may lead to private, loopback and link-local addresses.
WEBHOOK_PRIVATE_ADDRESSES = env.bool("TRAINHUB_WEBHOOK_PRIVATE_ADDRESSES", default=False)

# --- API -------------------------------------------------------------------------------------

# The largest body of a JSON endpoint. Does not apply to artifact uploads.
MAX_JSON_BYTES = env.int("TRAINHUB_MAX_JSON_BYTES", default=4 * 1024 * 1024)

REST_FRAMEWORK = {
    "DEFAULT_PARSER_CLASSES": ["core.json.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["core.json.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.negotiation.KnownFormats",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.BearerTokenAuthentication",
        "accounts.authentication.OpenModeAuthentication",
        "accounts.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["projects.permissions.ByRole"],
    "DEFAULT_SCHEMA_CLASS": "core.openapi.AutoSchema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
}

DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "core.exception_handler.ExceptionHandler",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "TrainHub",
    "DESCRIPTION": _("The control room for LLM training."),
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["projects.permissions.ByRole"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ProjectStatus": "projects.models.ProjectStatus",
        "RunStatus": "runs.status.RunStatus",
        "LogLevel": "logs.models.LogLevel",
        "ArtifactType": "artifacts.kinds.ArtifactType",
        "DirectUploadStatus": "artifacts.direct_uploads.UploadStatus",
        "ArtifactTagValue": "artifacts.kinds.TagValue",
        "SweepStatus": "sweeps.models.SweepStatus",
        "SweepMethod": "sweeps.models.Method.values",
        "GateComparison": "registry.release_policy.Comparison.values",
        "WebhookComparison": "notices.models.Comparison.values",
        "WebhookEvent": "notices.actions.OFFERED",
        "DeliveryEvent": "notices.models.Event.values",
        "DeliveryStatus": "notices.models.DeliveryStatus.values",
    },
}

# --- Runs ------------------------------------------------------------------------------------

# Executor name → class: see runs/executors.py.
EXECUTORS = {
    "simulated": "execution.executors.simulated.SimulatedExecutor",
    "process": "execution.executors.process.ProcessExecutor",
    "slurm": "execution.executors.slurm.executor.SlurmExecutor",
    "ray": "execution.executors.ray.executor.RayExecutor",
    "unmanaged": "execution.executors.unmanaged.UnmanagedExecutor",
}
SIMULATION_STEPS_PER_SECOND = env.float("TRAINHUB_SIMULATION_STEPS_PER_SECOND", default=10.0)
WORKER_TICK_SECONDS = env.float("TRAINHUB_WORKER_TICK_SECONDS", default=0.5)
WORKER_SLOTS = env.int("TRAINHUB_WORKER_SLOTS", default=8)
# The executors that workers offer; empty: all that work on their hosts.
EXECUTORS_OFFERED = env.list("TRAINHUB_EXECUTORS", default=[])
# How many runs a worker may hold in the queue of its cluster, or at work there.
CLUSTER_JOBS = env.int("TRAINHUB_CLUSTER_JOBS", default=200)
# How often Slurm is asked for the state of all jobs at most.
SLURM_POLL_SECONDS = env.float("TRAINHUB_SLURM_POLL_SECONDS", default=2.0)
# The address of a Ray cluster's dashboard, which takes jobs; empty: there is none.
RAY_ADDRESS = env.str("TRAINHUB_RAY_ADDRESS", default="")
# What it wants in the header Authorization, as a bearer token; empty: as Ray's own variables say.
RAY_TOKEN = env.str("TRAINHUB_RAY_TOKEN", default="")
# How often Ray is asked for the state of all jobs at most.
RAY_POLL_SECONDS = env.float("TRAINHUB_RAY_POLL_SECONDS", default=2.0)
# Where attempts are kept on nodes that share no directory with the worker.
NODE_WORK_DIR = env.str("TRAINHUB_NODE_WORK_DIR", default="/tmp/trainhub")  # noqa: S108
# How much the nodes of an attempt may have sent that its worker has not stored yet, in GB: nodes
# keep the rest. More than the largest checkpoint.
MIRROR_WAITING_GB = env.float("TRAINHUB_MIRROR_WAITING_GB", default=4096.0)
# The Python on a cluster's nodes that has psutil; empty: this one, on a shared file system.
NODE_PYTHON = env.str("TRAINHUB_NODE_PYTHON", default="")
# Whether workers keep the processes of each run in a cgroup of their own, where they may.
WORKER_CGROUPS = env.bool("TRAINHUB_WORKER_CGROUPS", default=True)
# The GPUs of a worker's host: "0,1,2,3" or UUIDs, "none", or empty: ask the driver.
GPUS = env.str("TRAINHUB_GPUS", default="")
# The variables that show a process its GPUs.
GPU_VARIABLES = env.list("TRAINHUB_GPU_VARIABLES", default=["CUDA_VISIBLE_DEVICES"])
# Between two samples of a worker's host in its runs' metrics; 0: none.
HOST_METRICS_SECONDS = env.float("TRAINHUB_HOST_METRICS_SECONDS", default=10.0)
# The directories below which a run's dataset may name a file.
DATASET_DIRS = env.list("TRAINHUB_DATASET_DIRS", default=[str(DATA_DIR / "datasets")])
# Variables of the worker that trainings get, besides those that they need to run.
TRAINING_ENVIRONMENT = env.list("TRAINHUB_TRAINING_ENVIRONMENT", default=[])
# The user that trainings run as, or a range of UIDs; empty: their worker's.
TRAINING_USER = env.str("TRAINHUB_TRAINING_USER", default="").strip()
# The sliding window in which GPU time counts for fair share between projects.
FAIR_SHARE_DAYS = env.float("TRAINHUB_FAIR_SHARE_DAYS", default=7.0)
# Whether runs that delay nobody go ahead of one that waits for GPUs.
BACKFILL = env.bool("TRAINHUB_BACKFILL", default=True)
# How long the cancel endpoint waits for a worker to stop a run before it returns 202.
CANCEL_WAIT_SECONDS = env.float("TRAINHUB_CANCEL_WAIT_SECONDS", default=20.0)
# A run that has not reported for this long is shown as silent; an unmanaged one later as lost.
SILENT_SECONDS = env.float("TRAINHUB_SILENT_SECONDS", default=120.0)
UNMANAGED_LOST_SECONDS = env.float("TRAINHUB_UNMANAGED_LOST_SECONDS", default=7200.0)
# Log searches that take longer are aborted with an error.
SEARCH_TIMEOUT_SECONDS = env.float("TRAINHUB_SEARCH_TIMEOUT_SECONDS", default=10.0)
# Working directories of processes: configuration, output, checkpoints not yet stored.
WORK_DIR = DATA_DIR / "runs"

# --- Serving ---------------------------------------------------------------------------------

WEB_PROCESSES = env.int("TRAINHUB_WEB_PROCESSES", default=2)
WEB_THREADS = env.int("TRAINHUB_WEB_THREADS", default=8)  # per process; each may hold a connection

# How many writes of a caller nginx passes on in a second; 0: all.
WRITES_PER_SECOND = env.int("TRAINHUB_WRITES_PER_SECOND", default=0)

# --- Logs ------------------------------------------------------------------------------------

LOG_FORMAT = env.choice("TRAINHUB_LOG_FORMAT", ["text", "json"], default="text")
# Where nginx writes a line for each request; empty: nowhere.
ACCESS_LOG = env.str("TRAINHUB_ACCESS_LOG", default="")

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "context": {"()": "core.log_context.ContextFilter"},
        "refusals": {"()": "core.log_context.RefusalFilter"},
    },
    "formatters": {
        "text": {"()": "core.log_format.TextFormatter"},
        "json": {"()": "core.log_format.JsonFormatter"},
    },
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": LOG_FORMAT,
            "filters": ["context", "refusals"],
        },
    },
    "root": {"handlers": ["stdout"], "level": env.level("TRAINHUB_LOG_LEVEL", "INFO")},
    "loggers": {"mcp": {"level": "ERROR"}},  # it tells of every request, and of every wrong one
}
