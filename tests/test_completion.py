"""Completion in shells, and the manual page. The oracle is what --help prints."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from conftest import REPOSITORY

COMPLETIONS = REPOSITORY / "src/droidflow/cli/completions"
OPTION = re.compile(r"^ +(?:-\w,)?(--[\w-]+)(?: (\S+))?", re.M)


def commands(droidflow, *words) -> list[list[str]]:
    """Every command and its subcommands, as --help lists them."""
    listed = droidflow(*words, "--help", code=0).stdout.partition("\nSubcommands:\n")[2]
    names = re.findall(r"^  (\S+)", listed.partition("\nExample")[0], re.M)
    return [words_ for n in names for words_ in ([*words, n], *commands(droidflow, *words, n))]


def options(droidflow, *words) -> dict[str, str]:
    """Every option and the name of its value."""
    text = droidflow(*words, "--help", code=0).stdout.partition("\nExample")[0]
    return {m[1]: m[2] or "" for m in OPTION.finditer(text)}


def complete(droidflow, *words) -> list[str]:
    lines = droidflow("complete", *words, code=0).stdout.splitlines()
    return [line.partition("\t")[0] for line in lines]


def test_every_command_and_every_option_is_completed(droidflow):
    found = commands(droidflow)
    assert ["hub", "verify"] in found and ["metadata"] in found
    for words in found:
        assert words[-1] in complete(droidflow, *words[:-1], ""), words
        completed = complete(droidflow, *words, "--")
        assert sorted(completed) == sorted(options(droidflow, *words)), words


def test_values_that_help_lists_are_completed(droidflow):
    lists = 0
    for words in commands(droidflow):
        for option, value in options(droidflow, *words).items():
            if not value.startswith("{"):
                continue
            lists += 1
            want = value[1:].partition("}")[0].replace("external:DIR", "external:").split(",")
            assert complete(droidflow, *words, option, "") == want, (words, option)
            assert complete(droidflow, *words, f"{option}={want[0][:2]}") == [
                f"{option}={w}" for w in want if w.startswith(want[0][:2])
            ]
    assert lists > 10


def need(program: str) -> None:
    if not shutil.which(program):
        conftest._unavailable(f"{program} is not installed")


@pytest.mark.parametrize(
    "line, want",
    [
        ("status ", [":folders\t"]),
        ("verify a ", [":folders\t"]),
        ("inspect a b", [":files\t"]),
        ("depth-eval a ", [":files\t"]),
        ("doctor ", [":folders\t"]),
        ("metadata --droid-root ", [":folders\t"]),
        ("slurm submit --run-dir r -- metadata --droid-root ", [":folders\t"]),
        ("metadata --config ", [":files\t"]),
        ("metadata --config=c", [":files\t--config="]),
        ("depth --conf ", [":files\t"]),
        ("depth --input left.png ", [":files\t"]),
        ("depth --input left.png right.png --hf", []),
        ("metadata --hub file:/data/x", [":folders\tfile:"]),
        ("depth --backend external:", [":folders\texternal:"]),
        ("depth --backend=external:x", [":folders\t--backend=external:"]),
        ("metadata --points ", []),
        ("metadata --points 4 --no-such 1", []),
        ("no-such-command zz", []),
    ],
)
def test_paths_are_asked_for_where_paths_stand(droidflow, line, want):
    assert droidflow("complete", *line.split(" "), code=0).stdout.splitlines() == want


def test_an_option_that_is_there_and_hidden_commands_are_not_offered(droidflow):
    assert "--out" in complete(droidflow, "metadata", "--o")
    assert "--out" not in complete(droidflow, "metadata", "--out", "x", "--o")
    assert complete(droidflow, "-1", "") and complete(droidflow, "metadata", "--", "--o") == []
    assert not {"complete", "completion", "man"} & set(complete(droidflow, ""))


@pytest.mark.parametrize(
    "shell, script", [("bash", "droidflow.bash"), ("zsh", "_droidflow"), ("fish", "droidflow.fish")]
)
def test_the_script_of_a_shell_is_the_installed_one_and_sound(droidflow, tmp_path, shell, script):
    text = droidflow("completion", shell, code=0).stdout
    assert text == (COMPLETIONS / script).read_text()
    need(shell)
    (tmp_path / script).write_text(text)
    command = [shell, "--no-execute" if shell == "fish" else "-n", tmp_path / script]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_shell_without_a_script_is_exit_2(droidflow):
    assert "bash" in droidflow("completion", "tcsh", code=2).stderr


@pytest.fixture
def path(droidflow, tmp_path):
    """A PATH on which the program has its name, and a folder to complete names in."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/droidflow").symlink_to(droidflow.binary)
    (tmp_path / "here/raw data").mkdir(parents=True)
    (tmp_path / "here/rows.yaml").touch()
    return f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"


class Terminal:
    """A bash with the completion, at a terminal. Control-X prints the line as it stands."""

    def __init__(self, folder, path):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            environment = {"PATH": path, "TERM": "dumb", "PS1": "$ ", "HOME": str(folder)}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.send(
            "source <(droidflow completion bash)\n"
            """bind -x '"\\C-x": printf "<<%s>>" "$READLINE_LINE"'; echo rea''dy\n"""
        )
        self.read_until("ready\r\n")

    def send(self, text: str):
        os.write(self.fd, text.encode())

    def read_until(self, mark: str) -> str:
        text, end = "", time.monotonic() + 60
        while mark not in text:
            assert select.select([self.fd], [], [], end - time.monotonic())[0], text
            text += os.read(self.fd, 4096).decode()
        return text

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.mark.parametrize(
    "line, want",
    [
        ("droidflow metad", "droidflow metadata "),
        ("droidflow hub ver", "droidflow hub verify "),
        ("droidflow metadata --droid-r", "droidflow metadata --droid-root "),
        ("droidflow depth --backend ref", "droidflow depth --backend reference "),
        ("droidflow depth --backend=ref", "droidflow depth --backend=reference "),
        ("droidflow depth --backend ext", "droidflow depth --backend external:"),
        ("droidflow depth --backend=external:ra", r"droidflow depth --backend=external:raw\ data/"),
        ("droidflow metadata --hub fi", "droidflow metadata --hub file:"),
        ("droidflow metadata --hub file:ra", r"droidflow metadata --hub file:raw\ data/"),
        ("droidflow metadata --droid-root r", r"droidflow metadata --droid-root raw\ data/"),
        ("droidflow metadata --config ro", "droidflow metadata --config rows.yaml "),
        ("droidflow metadata --config=ro", "droidflow metadata --config=rows.yaml "),
    ],
)
def test_bash_completes_at_a_terminal(path, tmp_path, line, want):
    terminal = Terminal(tmp_path / "here", path)
    terminal.send(f"{line}\t\x18")
    shown = terminal.read_until(">>")
    terminal.close()
    assert re.search("<<(.*?)>>", shown)[1] == want, shown


@pytest.mark.parametrize(
    "line, want",
    [
        ("droidflow metad", ["metadata"]),
        ("droidflow hub v", ["verify"]),
        ("droidflow metadata --droid-r", ["--droid-root"]),
        ("droidflow depth --backend r", ["reference"]),
        ("droidflow depth --backend=r", ["--backend=reference"]),
        ("droidflow depth --backend external:ra", ["external:raw data/"]),
        ("droidflow metadata --droid-root r", ["raw data/"]),
        ("droidflow metadata --config ro", ["rows.yaml"]),
    ],
)
def test_fish_completes(path, tmp_path, line, want):
    need("fish")
    script = f"source {COMPLETIONS}/droidflow.fish; complete -C '{line}'"
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path)}
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=tmp_path / "here",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == want, done


@pytest.mark.parametrize(
    "line, want",
    [
        ("droidflow metad", "droidflow metadata "),
        ("droidflow hub ver", "droidflow hub verify "),
        ("droidflow depth --backend ref", "droidflow depth --backend reference "),
        ("droidflow depth --backend=ref", "droidflow depth --backend=reference "),
        ("droidflow metadata --hub file:ra", r"droidflow metadata --hub file:raw\ data/"),
        ("droidflow metadata --droid-root r", r"droidflow metadata --droid-root raw\ data/"),
        ("droidflow metadata --config ro", "droidflow metadata --config rows.yaml "),
    ],
)
def test_zsh_completes(path, tmp_path, line, want):
    need("zsh")
    # At a pseudo-terminal of zsh's own; Control-X prints the line as it stands.
    script = f"""
      zmodload zsh/zpty
      zpty z zsh -f -i
      zpty -w z 'PS1= ; autoload -U compinit; compinit -u -D; source {COMPLETIONS}/_droidflow'
      zpty -w z 'say() {{ print -r -- "<<$BUFFER>>"; exit }}; zle -N say; bindkey ^X say'
      zpty -w z 'print -r rea""dy'
      zpty -r -m z x '*ready*'
      zpty -w -n z $'{line}\\t\\x18'
      zpty -r -m z x '*\\>\\>*'
      print -r -- $x
    """
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}
    done = subprocess.run(
        ["zsh", "-f", "-c", script],
        cwd=tmp_path / "here",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"<<{want}>>" in done.stdout, done


def test_the_manual_has_every_command_option_and_example(droidflow):
    page = droidflow("man", code=0).stdout.replace("\\-", "-").replace("\\e", "\\")
    for words in commands(droidflow):
        name = " ".join(["droidflow", *words])
        section = page.partition(f'.SS "{name}"\n')[2].partition("\n.S")[0]
        assert section, name
        for option, value in options(droidflow, *words).items():
            term = rf"\fB{option}\fR" + (rf" \fI{value.partition('=')[0]}\fR" if value else "")
            assert term in section, (name, option)
        for example in re.findall(r"^  (droidflow .+)$", droidflow(*words, "--help").stdout, re.M):
            assert f"\n{example}\n" in section, name


def test_the_manual_is_formatted_without_a_warning(droidflow, tmp_path):
    page = tmp_path / "droidflow.1"
    page.write_text(droidflow("man", code=0).stdout)
    checks = {
        "mandoc": ["mandoc", "-T", "lint", "-W", "warning", page],
        "groff": ["groff", "-K", "utf8", "-T", "utf8", "-man", "-ww", "-z", page],
    }
    there = {program: words for program, words in checks.items() if shutil.which(program)}
    if not there:
        pytest.skip("neither mandoc nor groff is installed")
    for program, words in there.items():
        done = subprocess.run(words, capture_output=True, text=True)
        lines = (done.stdout + done.stderr).splitlines()
        # The page has no date: it is the same for the same program.
        assert [line for line in lines if "missing date" not in line] == [], program
