"""What becomes of shipped kernels and of programs drawn at random, one line each, against what became
of them before.

Each line ends in checksums of whole texts.  A line that changes says that a schedule, an emitted
source or a verdict has changed: look at why, renew it with ``pytest --update-golden``, and say so
in CHANGELOG.md.  Whether the new one is right, other tests say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from zlib import crc32

import pytest

from lowering.ascend import emit
from lowering.hazards.assumptions import READINGS
from lowering.hazards.proof import Proof
from lowering.schedule import NAMED, Options, options_for, stages
from pto.errors import PtoError
from pto.ir import Kernel, all_rows
from pto.kernels import SHIPPED
from pto.text import parse
from tests import HANDWRITTEN
from tests.conftest import Golden
from tests.judges import random_kernels, random_programs, random_stages
from tests.lenient import check
from tests.whole.test_random_kernels import PLANS, any_options

KERNELS, FEW_KERNELS, STAGES, PROGRAMS = 40, 10, 120, 120
MOST_STATES = 40


def checksum(text: str) -> str:
    return f"{crc32(text.encode()):08x}"


def judged(k: Kernel, assume: tuple[str, ...] = (), most: int = MOST_STATES) -> str:
    proof = check(k, max_states=most, assume=assume)
    verdict = "proven" if proof.ok else "refused" if proof.refused else "fails"
    longest = f", {proof.trips_checked} trips" if proof.trips_checked else ""
    return f"{verdict}, {proof.states} states{longest}, {checksum(told(proof))}"


def told(proof: Proof) -> str:
    return f"{proof.failing} {proof.report()} {proof.refused}"


def scheduled(k: Kernel, options: Options, most: int = MOST_STATES) -> str:
    """What becomes of a traced kernel."""
    try:
        *_, (_, done) = stages(k, options)
    except PtoError as error:
        return f"{type(error).__name__} {checksum(error.message)}"
    return summed(done, most)


def summed(done: Kernel, most: int) -> str:
    """Sizes and checksums of a schedule, its notes and its sources, and what the proof says."""
    texts = emit(done)
    order = texts[f"{done.name}.ptoir"] + "\n".join(done.notes)
    sources = "".join(text for name, text in texts.items() if name.endswith(".cpp"))
    rows = len(list(all_rows(done.body)))
    sizes = f"{rows} rows, {len(done.buffers)} buffers, {len(done.events)} events"
    return f"{sizes}, schedule {checksum(order)}, sources {checksum(sources)}; {judged(done, (), most)}"


def shipped() -> Iterator[str]:
    for name, kernel in SHIPPED.items():
        for plan in NAMED:
            yield f"{name} {plan}: {scheduled(kernel.trace(), options_for(plan), 1000)}"
    yield f"paged_attention by hand: {summed(parse(HANDWRITTEN.read_text()), 1000)}"


def kernels() -> Iterator[str]:
    return of_kernels(range(FEW_KERNELS))


def more_kernels() -> Iterator[str]:
    return of_kernels(range(FEW_KERNELS, KERNELS))


def of_kernels(seeds: range) -> Iterator[str]:
    for seed in seeds:
        kernel, _ = random_kernels.draw(seed, outside=seed % 4 == 1)
        traced = kernel.trace()
        for options in (PLANS[seed % len(PLANS)], any_options(random.Random(seed))):
            yield f"kernel {seed}: {scheduled(traced, options)}"


def few_stages() -> Iterator[str]:
    for seed in range(STAGES):
        yield f"stages {seed}: {judged(random_stages.draw(seed))}"


def programs() -> Iterator[str]:
    """Every third under another reading of the machine."""
    readings = list(READINGS)
    for seed in range(PROGRAMS):
        assume = () if seed % 3 else (readings[seed // 3 % len(readings)],)
        k, *_ = random_programs.draw(seed)
        yield f"program {seed}{' '.join(['', *assume])}: {judged(k, assume)}"


@pytest.mark.parametrize("lines", [shipped, kernels, few_stages, programs])
def test_replay(lines: Callable[[], Iterator[str]], golden: Golden) -> None:
    golden(f"replay/{lines.__name__}.txt", "".join(f"{line}\n" for line in lines()))


@pytest.mark.sweep
def test_replay_of_more_kernels(golden: Golden) -> None:
    golden("sweep/replay_kernels.txt", "".join(f"{line}\n" for line in more_kernels()))
