"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="The local instance's folder (default: in your user's data folder).", rich_help_panel="Where"
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The rightsize.toml (default: ./rightsize.toml, then the sample fleet).",
        rich_help_panel="Where",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="RIGHTSIZE_URL",
        help="A remote Rightsize, such as https://rightsize.example.",
        rich_help_panel="Where",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="RIGHTSIZE_API_KEY", help="Its API key (better: the variable).", rich_help_panel="Where"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
