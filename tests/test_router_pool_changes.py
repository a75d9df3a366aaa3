"""Prices that change, LLMs that leave while others decide, and visits that leave no trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small_router import SPECS, called, configured, forecasts, question, small_router, spec, teach

from mixllm import LLMSpec, Outcome, Price, Query, Router, SQLiteStore
from mixllm.clock import ManualClock
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.errors import UnknownLLMError, UnknownPriceError


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


@pytest.fixture
def router() -> Iterator[Router]:
    with small_router() as made:
        yield made


def price(usd: float) -> Price:
    return Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)


# --- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("standing_clock")
def test_a_new_price_counts_at_the_next_decision_and_moves_nothing_else(router: Router) -> None:
    teach(router)
    before, scale = forecasts(router), router.snapshot.cost_scale_usd
    assert router.set_price("large", price(1.0)).price == price(1.0)
    after = forecasts(router)
    assert after["large"].cost_usd.mean == pytest.approx(before["large"].cost_usd.mean / 10, rel=1e-6)
    assert (after["large"].quality, after["large"].judgements) == (before["large"].quality, 20.0)
    assert {name: after[name] for name in ("small", "middle")} == {name: before[name] for name in ("small", "middle")}
    assert router.snapshot.cost_scale_usd == scale
    assert [one.name for one in router.llms] == ["small", "middle", "large"]


def test_the_rest_of_a_spec_can_change_as_well(router: Router) -> None:
    changed = router.update_llm(msgspec.structs.replace(SPECS[0], max_in_flight=2))
    assert router.llm("small") == changed
    assert changed.max_in_flight == 2
    assert router.snapshot.queues


def test_mistakes_change_nothing(router: Router) -> None:
    before = router.llms
    with pytest.raises(UnknownLLMError, match="Did you mean 'small'"):
        router.set_price("smal", price(1.0))
    with pytest.raises(UnknownLLMError):
        router.update_llm(spec("nobody", 1.0))
    with pytest.raises(UnknownPriceError):
        router.update_llm(LLMSpec(name="small"))
    assert (router.llms, router.store.pool_changes()) == (before, [])


def test_calls_are_billed_at_the_price_of_their_decision() -> None:
    clock = ManualClock()
    with small_router(clock=clock) as router:
        early = router.route(Query(text="solve", tokens_in=100), llm="middle")
        clock.advance(5.0)
        router.set_price("middle", price(3.0))
        late = router.route(Query(text="solve", tokens_in=100), llm="middle")
        clock.advance(5.0)
        facts = Outcome(tokens_in=100, tokens_out=100, latency_s=1.0)
        assert router.record(late.decision_id, facts).cost_usd == pytest.approx(600e-6)
        assert router.record(early.decision_id, facts).cost_usd == pytest.approx(200e-6)
        router.learn()
        assert forecasts(router)["middle"].spent_usd == pytest.approx(800e-6)
        model = router.learner._models["middle"].billing
        assert model.observations == 2
        assert model.state()["moment"] == pytest.approx(0.0, abs=1e-9), "both were billed as listed"


def test_a_price_and_what_is_known_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with small_router(store=SQLiteStore(path=path)) as router:
        teach(router)
        router.set_price("large", price(2.5))
        router.remove_llm("small")
        expected, scale = forecasts(router), router.snapshot.cost_scale_usd
    with small_router(store=SQLiteStore(path=path)) as router:
        assert router.llm("large").price == price(2.5)
        made = forecasts(router)
        assert made.keys() == expected.keys()
        for name, forecast in expected.items():
            assert made[name].cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-5)
            assert made[name].judgements == forecast.judgements
        assert router.snapshot.cost_scale_usd == scale, "still that of the first price"


def test_an_edited_configuration_goes_before_a_change_at_run_time(tmp_path: Path) -> None:
    config = configured(tmp_path / "r.db")
    with Router.from_config(config) as router:
        router.set_price("small", price(5.0))
    with Router.from_config(config) as router:
        assert router.llm("small").price == price(5.0), "nobody edited the file"
        router.set_price("large", price(6.0))
    entry = config.model_list[0]
    params = msgspec.structs.replace(entry.litellm_params, input_cost_per_token=7e-6, output_cost_per_token=7e-6)
    edited = msgspec.structs.replace(
        config,
        model_list=(msgspec.structs.replace(entry, litellm_params=params), *config.model_list[1:]),
    )
    with Router.from_config(edited) as router:
        found = router.llm("small").price
        assert found is not None
        assert found.usd_per_million_tokens_in == pytest.approx(7.0), "the file was edited since"
        assert router.llm("large").price == price(6.0)


def test_a_price_edited_in_the_file_counts_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with small_router(store=SQLiteStore(path=path)) as router:
        teach(router)
        before = forecasts(router)
    with small_router(store=SQLiteStore(path=path), llms=[SPECS[0], spec("middle", 4.0), SPECS[2]]) as router:
        after = forecasts(router)
        assert after["middle"].cost_usd.mean == pytest.approx(4 * before["middle"].cost_usd.mean, rel=1e-5)
        assert after["middle"].judgements == before["middle"].judgements


# --- leaving ----------------------------------------------------------------------------------------------------------


def test_a_decision_under_way_does_not_choose_what_was_removed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with small_router(routing=RoutingConfig(policy=PolicyConfig(name="greedy"))) as router:
        favourite = router.route("solve", expect_outcome=False).llm
        choose = router.maker.choose
        calls = 0

        def removing(*args: object, **given: object) -> object:
            nonlocal calls
            calls += 1
            made = choose(*args, **given)  # type: ignore[arg-type]
            if calls == 1:
                router.remove_llm(favourite)
            return made

        monkeypatch.setattr(router.maker, "choose", removing)
        decision = router.route("solve")
        assert calls == 2
        assert decision.llm != favourite
        assert favourite not in {candidate.llm for candidate in decision.candidates}
        assert router.in_flight.counts() == {decision.llm: 1}
        router.add_llm(next(one for one in SPECS if one.name == favourite))
        calls = 0
        with pytest.raises(UnknownLLMError):
            router.route("solve", llm=favourite)


def test_no_decision_after_a_removal_returns_chooses_it() -> None:
    threads, rounds = 4, 15
    made = small_router()
    stop, lock = threading.Event(), threading.Lock()
    found: list[tuple[float, str]] = []
    gone: list[tuple[str, float]] = []

    def traffic(thread: int) -> None:
        number = thread
        while not stop.is_set():
            decision = made.route(question(number), expect_outcome=False)
            number += threads
            with lock:
                found.append((decision.created_at_s, decision.llm))

    with ThreadPoolExecutor(threads) as workers:
        futures = [workers.submit(traffic, thread) for thread in range(threads)]
        for number in range(rounds):
            made.add_llm(spec(f"guest {number}", 0.001))
            made.route("solve", llm=f"guest {number}", expect_outcome=False)
            made.remove_llm(f"guest {number}")
            gone.append((f"guest {number}", made.clock.time_s()))
        stop.set()
        for future in futures:
            future.result(timeout=60)
    for name, removed_s in gone:
        assert all(llm != name for created_s, llm in found if created_s > removed_s)
    assert len(found) > threads
    made.close()


@pytest.mark.usefixtures("standing_clock")
@settings(max_examples=12)
@given(visits=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5), price_usd=st.floats(1e-3, 1e3))
def test_visits_leave_no_trace(visits: list[float], price_usd: float) -> None:
    """Decisions, scores and propensities are the very same, to the bit."""

    def run(*, visited: bool) -> list[object]:
        with small_router(seed=11) as made:
            teach(made, 30)
            if visited:
                for place, usd in enumerate(visits):
                    made.add_llm(spec(f"visitor {place}", usd))
                made.set_price("visitor 0", price(price_usd))
                for place in range(len(visits)):
                    made.remove_llm(f"visitor {place}")
                removed = made.llm("large")
                made.remove_llm("large")
                made.add_llm(removed)
            decisions = [made.route(question(number), expect_outcome=False) for number in range(12)]
        return [(one.llm, one.reason, one.candidates) for one in decisions]

    assert run(visited=True) == run(visited=False)


def test_one_that_returns_costs_what_it_costs_now_and_knows_what_it_knew(router: Router) -> None:
    teach(router)
    before = forecasts(router)["small"]
    router.remove_llm("small")
    called(router, 3)
    router.learn()
    router.add_llm(spec("small", 0.2))
    after = forecasts(router)["small"]
    assert after.judgements == before.judgements
    assert after.quality.std == before.quality.std
    assert after.cost_usd.mean == pytest.approx(2 * before.cost_usd.mean, rel=0.05)
