"""One frozen settings object (flag > environment > [settings] in rightsize.toml > default), passed down.

Nothing is read at import. `Settings.load` is called once by each process, and its result handed on.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestrator.errors import InvalidConfig

MIB = 1024 * 1024


def default_data_dir() -> Path:
    """Where a local instance keeps its data when nothing else is said."""
    return user_data_path("rightsize", appauthor=False)


class Settings(BaseSettings):
    """Everything that can be set, with units in the names. The environment's names begin with `RIGHTSIZE_`."""

    model_config = SettingsConfigDict(env_prefix="RIGHTSIZE_", extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: SecretStr | None = None
    """`postgresql://user:password@host/name`. Without it the local instance's own server is used."""
    redis_url: SecretStr | None = None
    """`redis://:password@host:6379/0`, the same with `rediss://` for TLS, or `redis+socket:///path?virtual_host=0`."""
    redis_ca_file: Path | None = None
    """The certificates that a `rediss://` server's own must come from; those of the system where it is not given."""
    database_password_file: Path | None = None
    """A file with the database's password, for secrets that are mounted rather than set."""
    redis_password_file: Path | None = None
    config: Path | None = None
    """The rightsize.toml; without it ./rightsize.toml, then the built-in sample fleet."""
    data_dir: Path = Field(default_factory=default_data_dir)
    blob_dir: Path | None = None
    """The shared folder for files and large bodies; `blobs` under the data directory where it is not given."""
    blob_url: str | None = None
    """`s3://bucket/prefix`: they go there instead, by the AWS_* variables. Trained specialists stay in the folder."""
    ready_file: Path | None = None
    """A process touches it when it is ready, and goes on touching it while it works: for a supervisor or a health check."""
    log_level: str = "INFO"
    log_format: str = "text"
    """`text` or `json`."""

    # The pace of the path. Tests shorten these.
    lease_s: float = Field(default=30.0, gt=0)
    """How long a worker that is not heard of keeps its dispatches, and counts as capacity."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    claim_by_s: float = Field(default=10.0, gt=0)
    """How long a published dispatch may stay unclaimed before it is published again."""
    recover_every_s: float = Field(default=5.0, gt=0)
    poll_s: float = Field(default=1.0, gt=0)
    """The dispatcher's fallback when no wake-up comes."""
    stop_within_s: float = Field(default=20.0, gt=0)
    """How long a worker that is told to stop may finish what it runs before it gives the rest back."""
    flush_max: int = Field(default=256, ge=1, le=10_000)
    """Outcomes in one record transaction, at most."""
    dispatch_max_jobs: int = Field(default=500, ge=1, le=10_000)
    machine_interval_s: float = Field(default=60.0, gt=0)
    """How old an interval of a machine priced by the hour is, at least, when its books are closed."""
    synchronous_commit: bool = True

    webhook_networks: str = ""
    """Networks of the installation's own, such as `10.1.0.0/16,127.0.0.0/8`, to which webhooks may be sent although they are private."""

    # Limits on what comes from outside.
    max_queued_jobs: int = Field(default=5_000_000, ge=1)
    max_batch_rows: int = Field(default=1_000_000, ge=1)
    max_file_bytes: int = Field(default=2048 * MIB, ge=1)
    max_row_bytes: int = Field(default=32 * MIB, ge=1)
    max_request_bytes: int = Field(default=32 * MIB, ge=1)
    inline_body_bytes: int = Field(default=1 * MIB, ge=0)
    """Request bodies over this size go to the blob store."""
    max_json_depth: int = Field(default=64, ge=4)
    max_errors_listed: int = Field(default=100, ge=1)
    request_timeout_s: float = Field(default=600.0, gt=0)
    """How long an interactive call may wait for its answer."""
    retention_days: int = Field(default=30, ge=1)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None) -> Self:
        """Settings from flags, the environment and `[settings]` of the rightsize.toml, in that order of precedence."""
        given = {key: value for key, value in (flags or {}).items() if value is not None}
        path = given.get("config") or os.environ.get("RIGHTSIZE_CONFIG") or _found_config()
        table = _settings_table(Path(path)) if path else {}
        from_file = {k: v for k, v in table.items() if f"RIGHTSIZE_{k.upper()}" not in os.environ}
        if unknown := set(table) - set(cls.model_fields):
            raise InvalidConfig(f"{path}: [settings] has unknown keys {sorted(unknown)}.")
        try:
            return cls(**{**from_file, **given, **({"config": Path(path)} if path else {})})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InvalidConfig(f"Setting {key} (RIGHTSIZE_{key.upper()}): {first['msg']}.") from None

    @property
    def blobs(self) -> Path:
        """The folder of the blob store."""
        return self.blob_dir or self.data_dir / "blobs"

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The private networks to which webhooks may be sent; raises InvalidConfig for what is none."""
        try:
            return tuple(ip_network(one.strip()) for one in self.webhook_networks.split(",") if one.strip())
        except ValueError as error:
            raise InvalidConfig(
                f"Setting webhook_networks (RIGHTSIZE_WEBHOOK_NETWORKS): {error}. Write networks as 10.1.0.0/16,fd00::/8."
            ) from error

    def require_database(self) -> str:
        """The database URL; raises InvalidConfig when there is none."""
        if self.database_url is None:
            raise InvalidConfig(
                "No database is given. Set RIGHTSIZE_DATABASE_URL=postgresql://user:password@host/name, "
                "or start a local instance with `rightsize up`."
            )
        return self.database_url.get_secret_value()

    def require_redis(self) -> str:
        """The Redis URL; raises InvalidConfig when there is none."""
        if self.redis_url is None:
            raise InvalidConfig(
                "No Redis is given. Set RIGHTSIZE_REDIS_URL=redis://:password@host:6379/0, "
                "or start a local instance with `rightsize up`."
            )
        url = self.redis_url.get_secret_value()
        if self.redis_password_file is None:
            return url
        scheme, _, rest = url.partition("://")
        account, _, host = rest.rpartition("@")
        user = account.partition(":")[0]
        return f"{scheme}://{user}:{quote(self.secret_in(self.redis_password_file), safe='')}@{host}"

    @staticmethod
    def secret_in(path: Path) -> str:
        """The secret in a file, without the newline at its end."""
        try:
            return path.read_text("utf-8").rstrip("\n")
        except OSError as error:
            raise InvalidConfig(f"Cannot read the secret file {path}: {error.strerror}.") from error


def _found_config() -> str | None:
    here = Path("rightsize.toml")
    return str(here.resolve()) if here.is_file() else None


def _settings_table(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("settings", {})
    except OSError as error:
        raise InvalidConfig(
            f"Cannot read {path}: {error.strerror}. Give --config or RIGHTSIZE_CONFIG a file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} is not valid TOML: {error}.") from error
    if not isinstance(table, dict):
        raise InvalidConfig(f"{path}: `settings` must be a table [settings].")
    return table
