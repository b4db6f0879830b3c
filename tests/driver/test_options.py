"""Options that reach a command as values."""

from __future__ import annotations

from dataclasses import dataclass

import click
from click.testing import CliRunner

from netc.options import NetworkOptions, gathered, network_options


@dataclass(frozen=True)
class Pair:
    left: int
    right: int


@click.command()
@click.option("--left", type=int, default=1)
@click.option("--other", default="o")
@click.option("--right", type=int, default=2)
@gathered(pair=Pair)
def pair_command(pair: Pair, other: str) -> None:
    click.echo(f"{pair} {other}")


@click.command()
@click.option("--before", default="b")
@network_options
@click.option("--after", default="a")
def network_command(network: NetworkOptions, before: str, after: str) -> None:
    click.echo(f"{network.model} {network.reading} {before} {after}")


def test_options_are_gathered_by_name() -> None:
    result = CliRunner().invoke(pair_command, ["--right", "5"])
    assert result.output == "Pair(left=1, right=5) o\n"


def test_network_options_arrive_as_one_value() -> None:
    result = CliRunner().invoke(network_command, ["m", "--set", "classes=3", "--batch", "2", "--net", "n"])
    assert result.output == "m {'net': 'n', 'settings': {'classes': 3}, 'batch': 2} b a\n"


def test_options_stand_in_the_help_in_the_order_of_their_decorators() -> None:
    text = CliRunner().invoke(network_command, ["--help"]).output
    assert text.index("--before") < text.index("--net") < text.index("--batch") < text.index("--after")
