"""What a search compares: a kernel for each choice of its tuned static parameters, on the same arrays.

In: a kernel, the static parameters that are given, a case.  Out: ``Variant``s, the default first.
Invariant: all have the work of the hardware block that has most to do in that case.
Non-goals: the search (``lowering/schedule/tune.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from lowering.execute.cases import draw
from lowering.execute.inputs import bind
from lowering.programs import traced
from lowering.schedule.estimate import rates
from lowering.schedule.tune import Chosen, Variant, same_work
from lowering.simulate.l2 import lengths
from lowering.simulate.launch import deal
from pto.errors import InputError
from pto.kernel import Kernel
from pto.signature import Static
from pto.targets import target_of


def variants_of(
    kernel: Kernel, given: Mapping[str, Static], case: Sequence[str], costs: str = ""
) -> list[Variant]:
    """Every choice of the tuned parameters that are not ``given``; ``case``: its options, as texts.

    Raises:
        InputError: the kernel draws no case, or takes no such option.
    """
    left = [n for n in kernel.tuned if n not in given]
    if left and kernel.draw_case is None:
        message = f"{kernel.name} leaves {', '.join(left)} open, and has no case to compare on"
        hint = f"define one with @{kernel.name}.case, or choose by -D NAME=VALUE"
        raise InputError(message, kernel.loc, hint)
    free = {n: values for n, values in kernel.tuned.items() if n not in given}
    default = tuple((n, kernel.statics[n]) for n in free)
    all_ = (tuple(zip(free, values, strict=True)) for values in product(*free.values()))
    choices: list[Chosen] = list(dict.fromkeys([default, *all_]))
    arrays = draw(kernel, traced(kernel, given), case)
    made = []
    for chosen in choices:
        program = traced(kernel, {**given, **dict(chosen)})
        found, call = rates(program, costs), bind(program, arrays)
        if found is None:  # the search will tell why
            made.append(same_work(program, chosen, ()))
            continue
        trips = lengths(found.placed, call.items, call.names, call.arrays)
        blocks = deal(trips, target_of(program).block_num)
        most = max(blocks, key=found.cycles)
        made.append(same_work(program, chosen, most, found.cycles(most)))
    return made
