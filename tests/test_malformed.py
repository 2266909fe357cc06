"""Malformed configurations by the thousand: one line and code 2 for each, no traceback, and no study started.

What is valid by chance is held to what a valid configuration promises.
"""

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from conftest import EXPERIMENT, make_project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolstudy.cli import main
from poolstudy.errors import ConfigurationError
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.load import known_keys, load_config

KEYS = [*known_keys(), "study", "data", "space", "training", "sampler", "pruner", "execution", "tracking"]
KEYS += ["sampler.trials", "sampler.trials.0.pooling", "space.filters.0", "space.filters.0.low", "space.dropout.low"]
GROUPS = ["data=digits", "space=wide", "space=tiny", "sampler=grid", "sampler=list", "pruner=none", "training=short"]
JUNK = [
    "", " ", "null", "~", "true", "yes", "???", "nan", "NaN", "-inf", "inf", ".inf", "1e999", "-1e999", "1e-320",
    "-0", "0", "-1", "0x10", "1_000", "010", "1.5", "9" * 400, "-" + "9" * 5000, "1" + "0" * 30, "ten", "ten=ten",
    "a,b", "a b", "[", "]", "{", "}", "[]", "{}", "[[]]", "[1,2", "{a:1", "{a:1}", "[null]", "[1,1]", "[a,[b]]",
    "[true]", "{low:0}", "{low:0,high:1}", "{low:2,high:1}", "{low:2,high:" + "9" * 30 + "}",
    "{low:0.1,high:0.5,step:1e-320}", "{low:nan,high:1}", "{low:0,high:1,step:0}", "{low:0,high:1,step:nan}",
    "{low:1,high:3,log:true}", "{choices:[2]}", "{choices:[]}", "{choices:2}", "{low:1,high:2,log:maybe}",
    "[" * 40 + "1" + "]" * 40, "[" * 400 + "]" * 400, "{a:" * 60 + "1" + "}" * 60, "'", '"', "'x", "'max'", '"max"',
    "\\", "\\'", "a\\=b", "a\\,b", "${", "${}", "${study.name}", "${study}", "${.name}", "${..trials}",
    "${nothing.here}", "${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${oc.env:NO_SUCH_VARIABLE,3}",
    "${oc.env:NO_SUCH_VARIABLE,null}", "${oc.decode:'1+'}", "${oc.decode:'[1,2]'}", "${oc.create:{a:1}}",
    "${oc.dict.keys:study}", "${oc.dict.values:study}", "${oc.select:study.trials}", "${oc.deprecated:study.trials}",
    "${hydra:runtime.cwd}", "${no.such.resolver:1}", "${study.seed}${study.seed}", "${${study.name}}", "glob(*)",
    "range(1,4)", "choice(1,2)", "interval(0,1)", "shuffle(1,2)", "sort(3,1)", "int('x')", "float(2)", "str(2)",
    "bool(x)", "json_str({a:1})", "tag(a,choice(1,2))", "extend_list(1)", "1,2,3", "../../etc/passwd", "/etc/passwd",
    "file:///etc/passwd", "a" * 10_000, "\u0000", "\u001b[31mred", "é", "数", "😀", "\u202e", "\ufeff1", "\ud800", "١٢",
    "½", "²", "x\ny", "x\ty", "2024-01-01", "1:30", "!!python/object/apply:os.system ['x']", "&a [*a]", "*a", "<<: 1",
    "%", "@", "`", "|", ">", "- a", "? a", ": a", "#",
]  # fmt: skip
PREFIXES = ["", "", "", "+", "++", "~", "+~", "~~", "@", "-", "--", " "]

junk = st.one_of(st.sampled_from(JUNK), st.text(max_size=20), st.integers().map(str), st.floats().map(str))
keys = st.one_of(
    st.sampled_from(KEYS),
    st.builds(lambda key, more: f"{key}.{more}", st.sampled_from(KEYS), st.text(max_size=5)),
    st.builds(lambda key, at, new: key[:at] + new + key[at + 1 :], st.sampled_from(KEYS), st.integers(0, 12), junk),
    st.sampled_from(
        ["hydra.run.dir", "hydra", "hydra/launcher", "defaults", "package", "_target_", ".", "..", "/", ""]
    ),
    st.sampled_from(["data@x", "space@study", "space@", "data@_global_", "optional space", "override space", "a/x"]),
    st.text(max_size=12),
)
overrides = st.one_of(
    st.builds(lambda prefix, key, value: f"{prefix}{key}={value}", st.sampled_from(PREFIXES), keys, junk),
    st.builds(lambda prefix, key: f"{prefix}{key}", st.sampled_from(PREFIXES), keys),
    st.builds(lambda key, value: f"{key}:={value}", keys, junk),
    st.sampled_from(GROUPS),
    st.builds(lambda group, value: f"{group}={value}", st.sampled_from(["data", "space", "sampler", "x"]), junk),
    st.text(max_size=30),
)

FILES = [
    "", "\0", "[]", "1", "null", "a", "- a", "defaults: 3", "defaults: [_self_]", "defaults: [experiment]",
    "defaults: [{data: [tiny, digits]}]", "defaults: [{data: ../../../../etc/passwd}]",
    "defaults: [{override data: x}]", "defaults: [{data: tiny}, {data: digits}]", "defaults: [/etc/passwd]",
    "defaults: [null]", "defaults: {data: tiny}", "a: &a [*a, *a]", "a: *a", "? [1, 2]\n: 3", "{[1]: 2}", "1: 2",
    "null: 3", "true: 1", "study: {1: 2}", "a: b: c", "\ta: 1", "a: !!python/object/apply:os.system ['touch pwned']",
    "a: !!python/name:os.system", "_target_: os.system", "study: ${study}", "study: ${data}\ndata: ${study}",
    "a: ${b}\nb: ${a}", "study: {name: '${study.name}'}", "hydra: {run: {dir: pwned}}", "hydra: 3", "a: 1\na: 2",
    "a: 2020-01-01", "a: 0b1", "a: 0o7", "a: .nan", "a: ~", "--- a\n--- b", "%YAML 9.9\n---\na: 1", 'a: "\\x"',
    "a: 'x", "a: |\n x", "a: <<", "<<: {a: 1}", "a: !x 1", "\ufeffa: 1", "x: [" * 200, "{" * 500, "a: " + "9" * 5000,
    "a: [" + "[" * 300 + "]" * 300 + "]",
]  # fmt: skip


def edited(cut: int, size: int, new: str) -> str:
    return EXPERIMENT[:cut] + new + EXPERIMENT[cut + size :]


def replaced(at: int, new: str) -> str:
    """The valid file with another value in one of its lines."""
    lines = EXPERIMENT.splitlines()
    lines[at] = f"{lines[at].partition(':')[0]}: {new}"
    return "\n".join(lines)


texts = st.one_of(
    st.sampled_from(FILES),
    st.builds(lambda more: f"{EXPERIMENT}{more}\n", st.sampled_from(FILES)),
    st.builds(edited, st.integers(0, len(EXPERIMENT)), st.integers(0, 12), junk),
    st.builds(replaced, st.integers(0, 13), junk),
)
files = st.one_of(texts.map(lambda text: text.encode(errors="replace")), st.binary(max_size=60))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("malformed") / "project")


def everything(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def refused_or_right(experiment: str, given_overrides: Sequence[str], root: Path) -> bool:
    """Whether it was refused, in one line with code 2; what was not is valid."""
    before = everything(root)
    refused: ConfigurationError | None
    try:
        config = load_config(experiment, given_overrides, root)
    except ConfigurationError as error:
        refused = error
    else:
        refused = None
        right(config)
    assert everything(root) == before
    if refused is None:
        return False
    assert refused.exit_code == 2
    assert str(refused).isprintable(), ascii(str(refused))
    assert len(str(refused)) < 4000
    return True


def right(config: StudyConfig) -> None:
    """What a valid configuration promises, computed in another way than it was validated."""
    assert StudyConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.study.trials >= 1
    side = config.data.image_shape[0]
    size = config.space.size()
    assert size is None or size >= 1
    for name, dimension in config.space.dimensions().items():
        low, high = (dimension.low, dimension.high) if not hasattr(dimension, "choices") else (0, 0)
        assert float(low) <= float(high), name
    pools = config.space.pool_size
    greatest = max(int(pool) for pool in (pools.choices if hasattr(pools, "choices") else (pools.high,)))
    assert greatest ** len(config.space.filters) <= side


def said_by_the_command(arguments: Sequence[str], root: Path) -> None:
    """The command itself: one line (argparse's usage comes before its own) and code 2, nothing written."""
    before, here = everything(root), Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    os.chdir(root)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code: object = main(arguments)
    except SystemExit as usage:
        code = usage.code
    finally:
        os.chdir(here)
    assert everything(root) == before
    said = err.getvalue().splitlines()
    if any(argument in ("-h", "--help") for argument in arguments):
        return
    assert (code, out.getvalue()) == (2, "")
    assert said[-1].startswith("poolstudy")
    assert len(said) == 1 or said[0].startswith("usage: ")


def thousands(count: int) -> settings:
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def check_overrides(root: Path, chosen: list[str]) -> None:
    if refused_or_right("tiny", chosen, root) and len(chosen[0]) % 8 == 0:
        said_by_the_command(["run", "tiny", *chosen], root)


def check_file(root: Path, content: bytes) -> None:
    file = root / "experiments" / "strange" / "experiment.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    for experiment in ("strange", str(file)):
        refused_or_right(experiment, [], root)
    assert not list(root.rglob("pwned"))


@given(st.lists(overrides, min_size=1, max_size=3))
@thousands(60)
def test_malformed_overrides_are_refused_in_one_line(root: Path, chosen: list[str]) -> None:
    check_overrides(root, chosen)


@given(files)
@thousands(40)
def test_malformed_files_are_refused_in_one_line(root: Path, content: bytes) -> None:
    check_file(root, content)


@pytest.mark.slow
@given(st.lists(overrides, min_size=1, max_size=3))
@thousands(1400)
def test_1400_malformed_overrides(root: Path, chosen: list[str]) -> None:
    check_overrides(root, chosen)


@pytest.mark.slow
@given(files)
@thousands(600)
def test_600_malformed_files(root: Path, content: bytes) -> None:
    check_file(root, content)
