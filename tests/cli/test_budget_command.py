"""``mixllm budget`` against running gateways."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import KEY, Serving, invoke, output_of, pool_config, refusal

from mixllm.playback import PlaybackServer


def test_what_is_left_in_all_and_of_the_key(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(
        pool,
        tmp_path / "m.yaml",
        gateway={"port": 0, "api_keys": ["os.environ/THE_KEY"]},
        budget={"usd": 12.5, "period": "week", "keys": [{"key": "os.environ/THE_KEY", "usd": 2}]},
    )
    with Serving(["serve", "--config", str(path)], env={"THE_KEY": KEY}) as gateway:
        asked = ("budget", "--url", gateway.url, "--api-key", KEY)
        said = output_of(*asked)
        shown = invoke(*asked).stdout
        assert "asks for an API key" in refusal(invoke("budget", "--url", gateway.url))
    assert (said["period"], said["end_s"] - said["start_s"]) == ("week", 7 * 86_400)
    assert (said["total"]["limit_usd"], said["total"]["spent_usd"], said["key"]["remaining_usd"]) == (12.5, 0.0, 2.0)
    assert "$12.50" in shown
    assert "this key" in shown
    assert "A period (week) has 168 h; when it is spent: refuse." in shown
    assert KEY not in shown


def test_a_gateway_without_budgets(gateway: Serving) -> None:
    assert "has no budget" in invoke("budget", "--url", gateway.url).stdout
    assert output_of("budget", "--url", gateway.url)["period"] is None
