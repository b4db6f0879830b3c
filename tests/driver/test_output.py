"""Writing results: whole files or none, devices untouched, tables aligned."""

import os
from pathlib import Path

import pytest

from netc.compiler.errors import NetcError
from netc.output import check_results, duration, format_table, quantity, write_result


def test_file_appears_whole_with_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.ir"
    write_result("first\n", str(path))
    write_result("second é\n", str(path))
    assert path.read_text(encoding="utf-8") == "second é\n"
    assert os.listdir(tmp_path) == ["out.ir"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_result(b"\x00", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"\x00"


def test_devices_are_written_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    write_result("gone", os.devnull)
    assert not Path(os.devnull).is_file()
    write_result("text", "-")
    assert capsys.readouterr().out == "text"


def test_results_are_looked_at_before_the_work(tmp_path: Path) -> None:
    source, link, other = (str(tmp_path / name) for name in ("a.net", "link.net", "b.net"))
    Path(source).touch()
    os.symlink(source, link)
    check_results((None, "-", other, os.devnull), (source, None, "a_shipped_net"))
    check_results((source,), (other,))
    for result in (source, link, str(tmp_path / "." / "a.net")):
        with pytest.raises(NetcError, match="would replace what it is made from"):
            check_results((other, result), (None, source))
    for result in (str(tmp_path / "none" / "b.net"), source + "/b.net"):
        with pytest.raises(NetcError, match=r"can't write .*b\.net: No"):
            check_results((result,), ())


def test_unwritable_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="can't write"):
        write_result("text", str(tmp_path / "none" / "out.ir"))


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ir"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(NetcError, match="No space left"):
        write_result("new", str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.ir"]


def test_table_aligns_numbers_to_the_right() -> None:
    table = format_table(("name", "count"), [("a", "1,000"), ("long", "2")], ("total", "1,002"))
    assert table.splitlines() == [
        "name   count",
        "-----  -----",
        "a      1,000",
        "long       2",
        "-----  -----",
        "total  1,002",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(8.18e9, "8.18 GFLOP"), (2.5e6, "2.5 MFLOP"), (1200, "1.2 kFLOP"), (3, "3 FLOP")]
)
def test_quantity(value: float, text: str) -> None:
    assert quantity(value, "FLOP") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.234, "1.23 s"), (0.1234, "123.4 ms"), (0.00123, "1.23 ms"), (0.000123, "0.123 ms")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_two_results_of_one_name_are_refused(tmp_path: Path) -> None:
    result = str(tmp_path / "result")
    with pytest.raises(NetcError, match="two results would be written to"):
        check_results([result, f"{tmp_path}/./result"], [])
    check_results([result, f"{result}.html", None, "-", "-", os.devnull, os.devnull], [])
    assert not list(tmp_path.iterdir())
