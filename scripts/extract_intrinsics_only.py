#!/usr/bin/env python3
"""Writes recordings/{serial}/intrinsics.json of one episode.

It is `droidflow intrinsics` under the name of the script that it replaces, and takes any of
that command's options.

    extract_intrinsics_only.py --episode_id AUTOLab+84bd5053+2023-08-18-12h-01m-10s
    extract_intrinsics_only.py --episode_id AUTOLab+84bd5053+2023-08-18-12h-01m-10s \\
        --config custom.yaml
"""

import drop_in

if __name__ == "__main__":
    drop_in.run("intrinsics", __doc__)
