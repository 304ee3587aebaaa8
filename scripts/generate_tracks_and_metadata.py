#!/usr/bin/env python3
"""Writes tracks.npz, extrinsics.npz and quality.json of one episode.

It is `droidflow tracks` under the name of the script that it replaces, and takes any of that
command's options.

    generate_tracks_and_metadata.py --episode_id AUTOLab+84bd5053+2023-08-18-12h-01m-10s
    generate_tracks_and_metadata.py --episode_id AUTOLab+84bd5053+2023-08-18-12h-01m-10s \\
        --config custom.yaml
"""

import drop_in

if __name__ == "__main__":
    drop_in.run("tracks", __doc__)
