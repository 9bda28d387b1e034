"""The fifteen patterns of SYNC_BUGS.md, each as a wrong and a right program.

``kind``: the violation of the wrong one; '' where it is only slow.
"""

from __future__ import annotations

from dataclasses import dataclass

from pto.ir import Kernel
from tests.judges.small_programs import (
    CONSUME_B,
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    LOAD_B,
    OPERANDS,
    PRODUCE,
    STORE,
    USE_B,
    loop,
    small,
)


@dataclass(frozen=True)
class Pattern:
    """A known mistake: declarations, a wrong body, the kind of violation, a right body, and the
    declarations of the right program if they differ."""

    name: str
    events: str
    wrong_body: str
    kind: str
    right_body: str
    right_events: str | None = None

    @property
    def wrong(self) -> Kernel:
        return small(self.events, self.wrong_body)

    @property
    def right(self) -> Kernel:
        events = self.events if self.right_events is None else self.right_events
        return small(events, self.right_body)


NINE = "".join(
    f"buffer vector ub t{k}[1] f32[8, 64] nd at {16384 + 2048 * k} by 2048\n" for k in range(9)
)


def loads(last: str) -> str:
    return "".join(
        f"vector 0 MTE2 t{k} = load src[0:+8, :] | set t{k}.full\n" if k < 8 or not last else last
        for k in range(9)
    )


FIVE = "".join(
    f"buffer vector ub t{k}[1] f32[8, 64] nd at {16384 + 2048 * k} by 2048\n" for k in range(5)
)
FIVE += "".join(
    f"event vector t{k}.full MTE2 -> V id {k}\nevent vector t{k}.free V -> MTE2 id {k}\n"
    for k in range(5)
)


def five(guarded: int) -> str:
    free = " ".join(f"t{k}.free" for k in range(guarded))
    body = "".join(
        f"vector 0 MTE2 t{k} = load src[0:+8, :] {f'| wait t{k}.free ' if k < guarded else ''}| set t{k}.full\n"
        for k in range(5)
    )
    body += "".join(
        f"vector 0 V c = copy t{k} | wait t{k}.full {f'| set t{k}.free' if k < guarded else ''}\nvector 0 V barrier\n"
        for k in range(5)
    )
    return f"vector 0 V sync | set {free}\n" + loop(body) + f"vector 0 MTE2 sync | wait {free}\n"


STORE_A = "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a"
STORED = "vector 0 S drain MTE3\n"

PATTERNS = [
    Pattern(
        "1: a wait in a loop that may not run",
        EVENTS_B + "event vector a.full MTE2 -> V id 2\n",
        FREE_B + "vector 0 MTE2 a = load src[0:+8, :]\n" + loop(LOAD_B, USE_B, "vector 0 V barrier\n")
        + END_B + "vector 0 V d = copy a\n",
        "RAW",
        FREE_B + "vector 0 MTE2 a = load src[0:+8, :] | set a.full\n" + loop(LOAD_B, USE_B, "vector 0 V barrier\n")
        + END_B + "vector 0 V d = copy a | wait a.full\n",
    ),
    Pattern(
        "2: an event beyond the id limit dropped",
        NINE + "".join(f"event vector t{k}.full MTE2 -> V id {k}\n" for k in range(8)),
        loads("vector 0 MTE2 t8 = load src[0:+8, :]\n")
        + "".join(f"vector 0 V c = copy t{k} | wait t{k}.full\nvector 0 V barrier\n" for k in range(8))
        + "vector 0 V d = copy t8\n",
        "RAW",
        "".join(f"vector 0 MTE2 t{k} = load src[0:+8, :]{f' | set t{k}.full' if k < 7 else ''}\n" for k in range(8))
        + "vector 0 MTE2 t8 = load src[0:+8, :] | set t7.full\n"
        + "".join(f"vector 0 V c = copy t{k} | wait t{k}.full\nvector 0 V barrier\n" for k in range(8))
        + "vector 0 V d = copy t8\n",
    ),
    Pattern("3: the fifth write-after-read across the back edge", FIVE, five(4), "WAR", five(5)),
    Pattern(
        "4: a flag taken for that of another destination",
        "event vector a.full MTE2 -> V id 0\nevent vector a.out MTE2 -> MTE3 id 0\n",
        "vector 0 MTE2 a = load src[0:+8, :] | set a.full\nvector 0 V c = copy a | wait a.full\n"
        + STORE_A + " | wait a.out\n" + STORED,
        "wait",
        "vector 0 MTE2 a = load src[0:+8, :] | set a.full a.out\nvector 0 V c = copy a | wait a.full\n"
        + STORE_A + " | wait a.out\n" + STORED,
    ),
    Pattern(
        "5: a branch that sets only one flag",
        "event vector a.full MTE2 -> V id 0\nevent vector d.full MTE2 -> V id 1\n",
        "if go:\n  vector 0 MTE2 a = load src[0:+8, :] | set a.full\n"
        "else:\n  vector 0 MTE2 d = load src[0:+8, :] | set d.full\n"
        "vector 0 V sync | wait a.full d.full\n",
        "wait",
        "if go:\n  vector 0 MTE2 a = load src[0:+8, :] | set a.full d.full\n"
        "else:\n  vector 0 MTE2 d = load src[0:+8, :] | set a.full d.full\n"
        "vector 0 V sync | wait a.full d.full\n",
    ),
    Pattern(
        "6: an outer loop that primes and drains again",
        EVENTS_B,
        loop(FREE_B, loop(LOAD_B, USE_B, "vector 0 V barrier\n"), END_B, trips="k", index="j"),
        "double set",
        FREE_B + loop(loop(LOAD_B, USE_B, "vector 0 V barrier\n"), trips="k", index="j") + END_B,
    ),
    Pattern(
        "7: a chain removed because the pipe pair is the same",
        "event vector a.full MTE2 -> V id 0\nevent vector d.full MTE2 -> V id 1\n",
        "vector 0 MTE2 a = load src[0:+8, :] | set a.full\nvector 0 MTE2 d = load src[0:+8, :]\n"
        "vector 0 V c = copy a | wait a.full\nvector 0 V e = copy d\n",
        "RAW",
        "vector 0 MTE2 a = load src[0:+8, :] | set a.full\nvector 0 MTE2 d = load src[0:+8, :] | set d.full\n"
        "vector 0 V c = copy a | wait a.full\nvector 0 V e = copy d | wait d.full\n",
    ),
    Pattern(
        "8: both slots primed although the first is loaded already",
        EVENTS_B,
        FREE_B + "vector 0 MTE2 b[0] = load src[0:+8, :] | set b.full[0]\n"
        + loop(
            "vector 0 MTE2 b[i + 1] = load src[0:+8, :] | wait b.free[i + 1] | set b.full[i + 1]\n",
            "vector 0 V c = copy b[i] | wait b.full[i] | set b.free[i]\nvector 0 V barrier\n",
        )
        + END_B,
        "leftover",
        FREE_B + loop(LOAD_B.replace(" 0 ", " +1 ", 1), USE_B, "vector 0 V barrier\n") + END_B,
    ),
    Pattern(
        "9: an id that a library op uses inside",
        EVENTS_B + CUBE + "event vector g V -> S id 0\n",
        OPERANDS + FREE_B + loop(PRODUCE, CONSUME_B) + ENDS + END_B
        + "vector 0 V sync | set g\nvector 0 S sync | wait g\n",
        "id",
        OPERANDS + FREE_B + loop(PRODUCE, CONSUME_B) + ENDS + END_B
        + "vector 0 V sync | set g\nvector 0 S sync | wait g\n",
        EVENTS_B + CUBE + "event vector g V -> S id 1\n",
    ),
    Pattern(
        "10: the writer booked on the wrong pipe",
        "event vector a.out MTE2 -> MTE3 id 0\n",
        "vector 0 V a = full 1.0\nvector 0 MTE2 sync | set a.out\n" + STORE_A + " | wait a.out\n" + STORED,
        "RAW",
        "vector 0 V a = full 1.0 | set a.out\n" + STORE_A + " | wait a.out\n" + STORED,
        "event vector a.out V -> MTE3 id 0\n",
    ),
    Pattern(
        "11: the P tile rewritten while MTE3 stores it",
        STORE,
        loop(
            "vector 0 V p = full 1.0 | set p.full\n",
            "vector 0 MTE3 out[(block_idx + i * block_num) * 16 + lane * 8:+8, :] = store p | wait p.full\n",
            "vector 0 V barrier\n",
            index="i",
        )
        + "vector 0 S drain MTE3\n",
        "WAR",
        "vector 0 MTE3 sync | set p.free\n"
        + loop(
            "vector 0 V p = full 1.0 | wait p.free | set p.full\n",
            "vector 0 MTE3 out[(block_idx + i * block_num) * 16 + lane * 8:+8, :] = store p"
            " | wait p.full | set p.free\nvector 0 V barrier\n",
            index="i",
        )
        + "vector 0 V sync | wait p.free\nvector 0 S drain MTE3\n",
    ),
    Pattern(
        "12: the ready set behind the prefetch",
        "event vector a.full MTE2 -> V id 0\n",
        "vector 0 MTE2 a = load src[0:+8, :]\nvector 0 MTE2 d = load src[0:+8, :] | set a.full\n"
        "vector 0 V c = copy a | wait a.full\n",
        "",
        "vector 0 MTE2 a = load src[0:+8, :] | set a.full\nvector 0 MTE2 d = load src[0:+8, :]\n"
        "vector 0 V c = copy a | wait a.full\n",
    ),
    Pattern(
        "13: two slots with one id",
        "event vector b.full MTE2 -> V id 0 0\nevent vector b.free V -> MTE2 id 0 1\n",
        FREE_B + loop(LOAD_B, USE_B, "vector 0 V barrier\n") + END_B,
        "id",
        FREE_B + loop(LOAD_B, USE_B, "vector 0 V barrier\n") + END_B,
        EVENTS_B,
    ),
    Pattern(
        "14: only the first access of a slot is guarded",
        EVENTS_B,
        FREE_B + loop(LOAD_B, USE_B, "vector 0 V d = copy b[u]\nvector 0 V barrier\n") + END_B,
        "WAR",
        FREE_B
        + loop(LOAD_B, "vector 0 V c = copy b[u] | wait b.full[u]\n", "vector 0 V d = copy b[u] | set b.free[u]\n",
               "vector 0 V barrier\n")
        + END_B,
    ),
    Pattern(
        "15: a local ring slot refilled while it is read",
        EVENTS_B + CUBE,
        OPERANDS
        + loop(PRODUCE, CONSUME_B.replace(" | wait b.free[u]", "").replace(" | set b.free[u]", ""))
        + ENDS,
        "WAR",
        OPERANDS + FREE_B + loop(PRODUCE, CONSUME_B) + ENDS + END_B,
    ),
]  # fmt: skip
