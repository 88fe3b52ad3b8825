"""Wrong calls, a line each: every one gets one message on stderr and exit code 2, before any process is started."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

CALLS = """
profile
profile MFRA
profile MRFA PyConv
profile ''
profile :
profile a:
profile :b
profile saved:x.pt
profile block.py
profile MRFA --dim 0
profile MRFA --dim -4
profile MRFA --dim 1.5
profile MRFA --dim x
profile MRFA --dim nan
profile MRFA --dim ''
profile MRFA --dim 99999999999
profile MRFA --dim
profile MRFA --size 0
profile MRFA --size -4
profile MRFA --size 1e3
profile MRFA --size 9999999999
profile MRFA --batch 0
profile MRFA --batch -1
profile MRFA --batch many
profile MRFA --batch 99999999999
profile MRFA --shape 1,64,0,8
profile MRFA --shape 1,64,-8,8
profile MRFA --shape a,b,c,d
profile MRFA --shape ''
profile MRFA --shape ,
profile MRFA --shape 1,64,1e9,8
profile MRFA --shape 99999,99999,99999,99999
profile MRFA --shape 1,64,8,8 --size 8
profile MRFA --shape 1,64,8,8 --batch 2
profile PyConv -p kernels
profile PyConv -p =3
profile PyConv -p 1=2
profile PyConv -p bias=True -p bias=False
profile MRFA --device gpu
profile MRFA --device cpuu
profile MRFA --device cuda:x
profile MRFA --device ''
profile MRFA --device cuda:-1
profile MRFA --dtype float31
profile MRFA --dtype int8
profile MRFA --dtype ''
profile MRFA --autocast float31
profile MRFA --mode train
profile MRFA --mode ''
profile MRFA --threads 0
profile MRFA --threads -1
profile MRFA --threads x
profile MRFA --threads 1.5
profile MRFA --seed -1
profile MRFA --seed x
profile MRFA --seed 99999999999999999999
profile MRFA --seed 1.5
profile MRFA --processes 0
profile MRFA --processes -1
profile MRFA --processes x
profile MRFA --max-time 0
profile MRFA --max-time -1
profile MRFA --max-time nan
profile MRFA --max-time inf
profile MRFA --max-time x
profile MRFA --timeout 0
profile MRFA --timeout -5
profile MRFA --timeout nan
profile MRFA --timeout inf
profile MRFA --metric speed
profile MRFA --metric ''
profile MRFA --measure speed
profile MRFA --measure ''
profile MRFA --measure lat
profile MRFA --measure
profile MRFA --device meta --measure latency
profile MRFA --device meta --measure erf
profile MRFA --cross-check --measure params
profile MRFA --depth 2
profile MRFA --tree --depth -1
profile MRFA --tree --depth x
profile MRFA --tree --measure params
profile MRFA --by-operator --measure params
profile MRFA --at-peak --measure params
profile MRFA --memory-timeline x.png --measure params
profile MRFA --memory-timeline x.bmp
profile MRFA --memory-timeline folder.csv
profile MRFA --memory-timeline a.png --memory-timeline b.png
profile MRFA -o out.xyz
profile MRFA -o out
profile MRFA -o ''
profile MRFA -o folder.csv
profile MRFA -o nowhere/out.csv
profile MRFA -o -.xyz
profile MRFA -o - -o -.csv
profile MRFA -o -.parquet
profile MRFA -o
profile MRFA --dimm 3
profile MRFA --outpt x.csv
profile MRFA --no-such
profile MRFA -z
profile --dim 64
profile MRFA --dim 32 --dim 64
profile MRFA --device cpu --device meta
profile MRFA --mode training --mode inference
compare MFRA
compare MRFA MFRA
compare 'Foo*'
compare MRFA PyConv --baseline PyCon
compare MRFA --baseline ''
compare MRFA PyConv --dim 0
compare MRFA -o nowhere/x.csv
compare MRFA --measure latency --device meta
compare MRFA --measure latency --processes 0
compare MRFA --threads 0
compare MRFA --dtype half
compare MRFA --tree
compare MRFA --strictt
compare MRFA --input-grad --no-input-gradd
compare MRFA --json -o -
compare MRFA --threads 1 --threads x
plug
plug MRFA
plug MFRA --into timm:resnet18
plug MRFA --into
plug PyConv --into torchvision:resnet18 --after layer1 --where 3x3 --device meta
plug PyConv --into torchvision:resnet18 --measure speed
plug PyConv --into torchvision:resnet18 --host-option x --device meta
verify MFRA
verify MRFA --check nosuch
verify MRFA --skip nosuch
verify MRFA --require nosuch
verify MRFA --check gradientss
verify MRFA --device meta
verify MRFA --device gpu
verify MRFA --dim 0
verify MRFA -o x.png
verify MRFA --timeout 0
verify MRFA --timeout nan
verify MRFA --seed -1
erf plot MFRA
erf plott MRFA
erf plot MRFA -o x.bmp
erf plot MRFA -o x.csv
erf plot MRFA -o -
erf plot MRFA --device meta
erf measure MRFA --device meta
erf measure MRFA --statistic abso
erf measure MRFA --statistic ''
erf measure MRFA --probe sign
erf measure MRFA --samples 0
erf measure MRFA --samples -1
erf measure MRFA --samples x
erf measure MRFA --samples 1.5
erf measure MRFA --seeds 0
erf measure MRFA --seeds -1
erf measure MRFA --depth 0
erf measure MRFA --depth -1
erf measure MRFA --depth x
erf measure MRFA --layer-scale x
erf measure MRFA --precision 0
erf measure MRFA --precision -1
erf measure MRFA --precision nan
erf measure MRFA --dtype float31
erf measure MRFA --mode replk
erf measure MRFA --size 0
erf measure MRFA --seed -1
erf measure MRFA --timeout 0
erf measure MRFA -o x.xyz
erf compare MFRA PyConv
erf compare MRFA -o nowhere/x.csv
erf compare MRFA --samples nan
erf measure MRFA --samples 3 --samples 4
list nosuch
list 'zzz*'
list --kind blok
list --kind ''
list --nosuch
show
show MFRA
show MRFA --dim 0
show MRFA -p x
show MRFA --timeout 0
sweep MFRA
sweep 'zzz*'
sweep nofile.toml
sweep broken.toml
sweep wrongkey.toml
sweep wrongvalue.toml
sweep a.toml b.toml
sweep MRFA --dim 0
sweep MRFA --dim x
sweep MRFA --dim ''
sweep MRFA --dim 8,,16
sweep MRFA --size 0
sweep MRFA --batch -1
sweep MRFA --device gpu
sweep MRFA --dtype float31
sweep MRFA --mode train
sweep MRFA --execution fast
sweep MRFA --memory-format last
sweep MRFA --threads 0
sweep MRFA --seed -1
sweep MRFA --measure speed
sweep MRFA --processes 0
sweep MRFA --max-time -1
sweep MRFA --timeout 0
sweep MRFA --metric speed
sweep MRFA -p kernels
sweep MRFA --store a.jsonl -o b.jsonl
sweep MRFA --store folder.csv
sweep MRFA -o nowhere/x.csv
sweep MRFA -o x.xyz
sweep MRFA --slurm nosuch
sweep MRFA --slurm ''
sweep MRFA --nosuch
sweep MRFA --store a.jsonl --store b.jsonl
check
check missing.csv
check folder.csv
check empty.csv
check garbage.csv
check garbage.json
check norecords.json
check table.md
check good.csv --measure speed
check good.csv --fail-slower 5
check good.csv --fail-slower 0%
check good.csv --fail-slower -5%
check good.csv --fail-slower x
check good.csv --fail-slower nan%
check good.csv --reference nosuch --fail-slower 5%
check good.csv --processes 0
check good.csv --max-time nan
check good.csv -o x.xyz
check good.csv --timeout 0
check good.csv --fail-slower 5% --fail-slower 6%
report
report missing.json
report folder.csv
report empty.csv
report garbage.csv
report garbage.json
report norecords.json
report table.md
report good.csv -o x.xls
report good.csv -o nowhere/x.html
report good.csv -o folder.csv
report good.csv --columns nosuch -o x.md
report good.csv --columns latency -o x.md
report good.csv --plots good.csv
report good.csv -o - -o -.md
report good.csv missing.csv
report good.csv --nosuch
report good.csv --columns macs --columns params
paper nosuchsystem
paper 'zzz*'
paper --timeout 0
paper -o x.png
paper --nosuch
env --nosuch
env extra
calibrate --device gpu
calibrate --device meta
calibrate --threads 0
calibrate --threads x
calibrate --timeout 0
calibrate --timeout nan
calibrate extra
profil MRFA
comparee MRFA
--nosuch
lst
sweeep MRFA
"""

FILES = {
    "good.csv": "target,macs\nMRFA,3\n",
    "empty.csv": "",
    "garbage.csv": "\x00\x01,\x02\n\x03",
    "garbage.json": "{",
    "norecords.json": '{"a": 1}',
    "table.md": "| a |\n",
    "broken.toml": "targets = [\n",
    "wrongkey.toml": 'target = "MRFA"\ndimms = 3\n',
    "wrongvalue.toml": 'targets = "MRFA"\ndims = "many"\n',
    "a.toml": 'targets = "MRFA"\n',
    "b.toml": 'targets = "MRFA"\n',
}
_LONGEST = 240
"""Three lines of a terminal of 80 columns."""


def by_command() -> Iterator[tuple[str, list[str]]]:
    calls = CALLS.strip().splitlines()
    for command in dict.fromkeys(call.partition(" ")[0] for call in calls):
        yield command, [call for call in calls if call.partition(" ")[0] == command]


def test_there_are_enough_and_none_twice() -> None:
    calls = CALLS.strip().splitlines()
    assert len(calls) == len(set(calls)) > 260


@pytest.mark.parametrize(
    ("command", "calls"), list(by_command()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_wrong_call_gets_one_message(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, calls: list[str]
) -> None:
    def no_process(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess.Popen, "__init__", no_process)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "folder.csv").mkdir()
    before = sorted(tmp_path.iterdir())
    for call in calls:
        result = cli(*shlex.split(call))
        said = (call, result)
        assert result.code == 2, said
        assert not result.out, said
        assert result.err.startswith("error: "), said
        assert result.err.count("\n") == 1, said
        assert len(result.err) <= _LONGEST, said
        assert "internal error" not in result.err, said
        assert "Traceback" not in result.err, said
    assert sorted(tmp_path.iterdir()) == before
