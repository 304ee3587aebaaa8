"""python -m droidflow: other formats of what droidflow writes."""

from __future__ import annotations

import argparse
import contextlib
import math
import pathlib
import sys

from .dataset import Dataset
from .errors import DroidflowError, NotFound
from .splits import SHARES
from .windows import read_keep_ranges

_FAILED, _SOME_LEFT_OUT = 1, 3  # as droidflow's


def _refused(wanted: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"want {wanted}, have {text!r}")


class _LeftOut:
    """Says which episodes lack something, and counts them."""

    count = 0

    def __call__(self, folder: str, error: Exception) -> None:
        self.count += 1
        print(f"left out {folder}: {error}", file=sys.stderr)


def _shares(text: str) -> tuple[float, ...]:
    with contextlib.suppress(ValueError):
        shares = tuple(float(part) for part in text.split("/"))
        if len(shares) == 3 and min(shares) >= 0 and 0 < sum(shares) < math.inf:
            return shares
    raise _refused("three numbers of 0 or more as 80/10/10, not all 0", text)


def _size(text: str) -> tuple[int, int]:
    with contextlib.suppress(ValueError):
        width, height = map(int, text.split("x"))
        if min(width, height) >= 2 and width % 2 == height % 2 == 0:
            return width, height
    raise _refused("two even numbers of pixels as 320x180", text)


def _fps(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= 1000:
            return int(text)
    raise _refused("a number from 1 to 1000", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m droidflow", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("out", help="results: a folder, or hf://datasets/NAMESPACE/NAME")
    common.add_argument("--droid-root", type=pathlib.Path, help="the raw episodes")
    common.add_argument("--language", help="droid_language_annotations.json")
    common.add_argument(
        "--splits",
        type=_shares,
        metavar="TRAIN/VAL/TEST",
        help="shares of scenes (those of meta/episodes.jsonl, else 80/10/10)",
    )

    index = commands.add_parser("index", parents=[common], help="write a table of the episodes")
    index.add_argument("--keep-ranges", help="keep_ranges_1_0_1.json")
    index.add_argument("-o", "--output", type=pathlib.Path, help="(OUT/meta/episodes.parquet)")
    index.set_defaults(run=_index)

    export = commands.add_parser("export", parents=[common], help="write another format")
    export.add_argument("--to", choices=["lerobot"], required=True)
    export.add_argument("destination", type=pathlib.Path, help="new folder")
    export.add_argument("--cameras", default="wrist,ext1,ext2", help="roles (%(default)s)")
    export.add_argument("--size", type=_size, default="320x180", help="of pictures (%(default)s)")
    export.add_argument("--fps", type=_fps, default="15", help="the same for all (%(default)s)")
    export.set_defaults(run=_export)

    view = commands.add_parser("view", help="write an episode for the Rerun viewer")
    view.add_argument("episode", help="folder of an episode's results")
    view.add_argument("-o", "--output", type=pathlib.Path, default="episode.rrd", help="(%(default)s)")
    view.add_argument("--droid-root", type=pathlib.Path, help="the raw episodes, for pictures")
    view.add_argument("--camera", default="", help="only these: roles or serials, by commas")
    view.add_argument("--width", type=int, default=640, help="of pictures, at most; 0: as recorded")
    view.add_argument("--every", type=int, default=1, help="each K-th step")
    view.set_defaults(run=_view)
    return parser


def _index(arguments: argparse.Namespace) -> int:
    from .index import rows, write_index

    dataset = Dataset(arguments.out, arguments.language)
    output = arguments.output
    if output is None and arguments.out.startswith("hf://"):
        raise NotFound(arguments.out, "--output beside a repository", "none")
    output = output or pathlib.Path(arguments.out, "meta/episodes.parquet")
    keep = read_keep_ranges(arguments.keep_ranges) if arguments.keep_ranges else None
    left_out = _LeftOut()
    episodes = list(rows(dataset, arguments.droid_root, keep, arguments.splits, left_out))
    if not episodes:
        raise NotFound(arguments.out, "an episode for the table", "none")
    print(f"{write_index(output, episodes)} episodes: {output}")
    return _SOME_LEFT_OUT if left_out.count else 0


def _export(arguments: argparse.Namespace) -> int:
    from .lerobot import Options, export

    options = Options(
        arguments.droid_root,
        arguments.cameras.split(","),
        arguments.size,
        arguments.fps,
        arguments.splits or SHARES,
    )
    left_out = _LeftOut()
    dataset = Dataset(arguments.out, arguments.language)
    episodes, frames = export(dataset, arguments.destination, options, left_out)
    print(
        f"{episodes} episodes, {frames} frames, {left_out.count} episodes left out: "
        f"{arguments.destination}"
    )
    return _SOME_LEFT_OUT if left_out.count else 0


def _view(arguments: argparse.Namespace) -> int:
    from .rrd import open_episode, write_rrd

    notes = write_rrd(
        open_episode(arguments.episode),
        arguments.output,
        droid_root=arguments.droid_root,
        cameras=[camera for camera in arguments.camera.split(",") if camera],
        width_px=max(arguments.width, 0),
        every=max(arguments.every, 1),
    )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(arguments.output)
    return 0


def main(words: list[str] | None = None) -> int:
    arguments = _parser().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        extra = "view" if arguments.command == "view" else "export"
        print(
            f"want the package {error.name} (pip install 'droidflow[{extra}]'), have none",
            file=sys.stderr,
        )
    except (DroidflowError, OSError) as error:
        print(error, file=sys.stderr)
    return _FAILED


if __name__ == "__main__":
    sys.exit(main())
