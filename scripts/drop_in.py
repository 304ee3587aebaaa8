"""What the scripts for one episode share: they become a command of droidflow."""

import argparse
import os
import pathlib
import shutil
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parent


def droidflow() -> str:
    """The one named, the one built or installed with these scripts, or that of the PATH."""
    near = [SCRIPTS / up / "bin/droidflow" for up in ("../build/release", "../../..")]
    found = os.environ.get("DROIDFLOW_BIN")
    found = found or next((str(path.resolve()) for path in near if path.exists()), None)
    found = found or shutil.which("droidflow")
    if found is None:
        sys.exit("no droidflow: run make, put it into the PATH or set DROIDFLOW_BIN")
    return found


def run(command: str, description: str) -> None:
    """Becomes `droidflow COMMAND`; arguments that are not of these two are handed on."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--episode_id",
        "--episode-id",
        required=True,
        help="its uuid, or its folder below the raw root",
    )
    config = SCRIPTS / "config.yaml"
    parser.add_argument(
        "--config",
        default=config if config.exists() else None,
        help="YAML file (config.yaml beside this script, if it is there)",
    )
    known, others = parser.parse_known_args()
    program = droidflow()
    settings = ["--config", str(known.config)] if known.config else []
    arguments = [program, command, "--episode-id", known.episode_id, *settings, *others]
    try:
        os.execv(program, arguments)
    except OSError as error:
        sys.exit(f"{program}: {error.strerror}")
