"""The small functions and types that emitted sources bring along.

In: the words that a text says.  Out: the definitions it needs, in one order.  Invariant: nothing is
defined that nothing says.  Non-goals: functions of the tile library and of the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lowering.ascend.names import said

Functions = Mapping[str, tuple[str, ...]]

FUNCTIONS: Functions = {
    "L1Nz": (
        "// A matrix in L1: boxes of 16 rows by 32 bytes.",
        "template <typename T, int R, int C, int VR = R, int VC = C>",
        "using L1Nz =",
        "    Tile<TileType::Mat, T, R, C, BLayout::ColMajor, VR, VC, SLayout::RowMajor, 512>;",
    ),
    "L1Zn": (
        "// The transpose of a matrix in L1, as the right operand of a product takes it.",
        "template <typename T, int R, int C, int VR = R, int VC = C>",
        "using L1Zn =",
        "    Tile<TileType::Mat, T, R, C, BLayout::RowMajor, VR, VC, SLayout::ColMajor, 512>;",
    ),
    "L0A": (
        "// Left operand, right operand and result of a product.",
        "template <typename T, int R, int C, int VR = R, int VC = C>",
        "using L0A = TileLeft<T, R, C, VR, VC>;",
        "template <typename T, int R, int C, int VR = R, int VC = C>",
        "using L0B = TileRight<T, R, C, VR, VC>;",
        "template <typename T, int R, int C, int VR = R, int VC = C>",
        "using L0C = TileAcc<T, R, C, VR, VC>;",
    ),
    "Ub": (
        "// A tile of the vector core, row by row.",
        "template <typename T, int R, int C, int VR = R, int VC = C,",
        "          PadValue Pad = PadValue::Null>",
        "using Ub = Tile<TileType::Vec, T, R, C, BLayout::RowMajor, VR, VC,",
        "                SLayout::NoneBox, 512, Pad>;",
    ),
    "UbColumn": (
        "// One value per row; arithmetic sees the same bytes as a tile of one row.",
        "template <typename T, int R, int C, int VR = R, int VC = C>",
        "using UbColumn = Tile<TileType::Vec, T, R, C, BLayout::ColMajor, VR, VC>;",
    ),
    "GmRows": (
        "// R rows of C elements in GM, Step elements from row to row.",
        "template <typename T, int64_t R, int64_t C, int64_t Step>",
        "using GmRows = GlobalTensor<T, Shape<1, 1, 1, R, C>, Stride<1, 1, 1, Step, 1>>;",
    ),
    "GmColumns": (
        "// The same, seen as its transpose: R elements in each of C columns.",
        "template <typename T, int64_t R, int64_t C, int64_t Step>",
        "using GmColumns =",
        "    GlobalTensor<T, Shape<1, 1, 1, R, C>, Stride<1, 1, 1, 1, Step>, Layout::DN>;",
    ),
    "INF": ("constexpr float INF = __builtin_inff();",),
    "NOT_A_NUMBER": ('constexpr float NOT_A_NUMBER = __builtin_nanf("");',),
    "min_of": (
        "static __aicore__ inline int64_t min_of(int64_t a, int64_t b)",
        "{",
        "    return a < b ? a : b;",
        "}",
    ),
    "max_of": (
        "static __aicore__ inline int64_t max_of(int64_t a, int64_t b)",
        "{",
        "    return a > b ? a : b;",
        "}",
    ),
    "floor_div": (
        "// The quotient, rounded down.",
        "static __aicore__ inline int64_t floor_div(int64_t a, int64_t b)",
        "{",
        "    return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);",
        "}",
    ),
    "floor_mod": (
        "// What floor_div leaves, with the sign of b.",
        "static __aicore__ inline int64_t floor_mod(int64_t a, int64_t b)",
        "{",
        "    return a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);",
        "}",
    ),
    "ceil_div": (
        "// The quotient, rounded up.",
        "static __aicore__ inline int64_t ceil_div(int64_t a, int64_t b)",
        "{",
        "    return a / b + (a % b != 0 && (a < 0) == (b < 0) ? 1 : 0);",
        "}",
    ),
    "float_min": (
        "static __aicore__ inline float float_min(float a, float b)",
        "{",
        "    return b < a ? b : a;",
        "}",
    ),
    "float_max": (
        "static __aicore__ inline float float_max(float a, float b)",
        "{",
        "    return b > a ? b : a;",
        "}",
    ),
    "float_divided": (
        "// How often b > 0 goes into a >= 0; a becomes what is left, exactly.",
        "static __aicore__ inline uint64_t float_divided(float &a, float b)",
        "{",
        "    uint64_t count = 0;",
        "    while (a >= b) {",
        "        float part = b;",
        "        uint64_t times = 1;",
        "        while (a - part >= part) {",
        "            part += part;",
        "            times += times;",
        "        }",
        "        a -= part;",
        "        count += times;",
        "    }",
        "    return count;",
        "}",
    ),
    "float_floor_div": (
        "// The quotient, rounded down exactly where a float has fractions.",
        "static __aicore__ inline float float_floor_div(float a, float b)",
        "{",
        "    const float quotient = a / b;",
        "    if (!(quotient > -2147483648.0f && quotient < 2147483648.0f)) {",
        "        return quotient;",
        "    }",
        "    float rest = a < 0 ? -a : a;",
        "    const int64_t whole = static_cast<int64_t>(float_divided(rest, b < 0 ? -b : b));",
        "    const bool negative = a < 0 ? b > 0 : b < 0;",
        "    return static_cast<float>(negative ? -whole - (rest > 0 ? 1 : 0) : whole);",
        "}",
    ),
    "float_floor_mod": (
        "// What float_floor_div leaves, with the sign of b.",
        "static __aicore__ inline float float_floor_mod(float a, float b)",
        "{",
        "    if (b != b) {",
        "        return b;",
        "    }",
        "    float rest = a < 0 ? -a : a;",
        "    (void)float_divided(rest, b < 0 ? -b : b);",
        "    if (rest == 0) {",
        "        return b < 0 ? -0.0f : 0.0f;",
        "    }",
        "    rest = a < 0 ? -rest : rest;",
        "    return (rest < 0) == (b < 0) ? rest : rest + b;",
        "}",
    ),
    "clipped": (
        "// How many of size elements are valid.",
        "static __aicore__ inline int64_t clipped(int64_t valid, int64_t size)",
        "{",
        "    return valid < 0 ? 0 : valid < size ? valid : size;",
        "}",
    ),
    "nothing_loaded": (
        "// A load of no element; what the slot holds reaches no stored element.",
        "template <typename Tile>",
        "static __aicore__ inline void nothing_loaded(Tile &)",
        "{",
        "}",
    ),
    "add_to": (
        "// A store that adds to what is there: the mode is on for this one only.",
        "template <typename Tile, typename Gm>",
        "static __aicore__ inline void add_to(Gm &gm, Tile &tile)",
        "{",
        "    TSTORE<Tile, Gm, AtomicType::AtomicAdd>(gm, tile);",
        "}",
    ),
    "InOneRow": (
        "// The same bytes as one row: row by row the device would stop for each.",
        "template <typename Tile>",
        "using InOneRow = Ub<typename Tile::DType, 1, Tile::Rows * Tile::Cols>;",
    ),
    "BitsOf": (
        "// A bit for each element of a tile, eight in a byte, in whole blocks of 32 bytes.",
        "template <typename Tile>",
        "using BitsOf = Ub<uint8_t, 1, (Tile::Rows * Tile::Cols + 255) / 256 * 32, 1, Tile::Rows * Tile::Cols / 8>;",
    ),
    "choose": (
        "// dst = x where the bit is 1, y elsewhere; where the bits are goes into dst: the device reads that in UB, too.",
        "template <typename D, typename Bits, typename X, typename Y>",
        "static __aicore__ inline void choose(D &dst, Bits &bits, X &x, Y &y)",
        "{",
        "    InOneRow<D> chosen, from, others;",
        "    TRESHAPE(chosen, dst);",
        "    TRESHAPE(from, x);",
        "    TRESHAPE(others, y);",
        "    pipe_barrier(PIPE_V);",
        "    TSEL(chosen, bits, from, others, chosen);",
        "}",
    ),
    "select_by_tile": (
        "// dst = x where a compares with b, y elsewhere; the bits of the comparison go to bits_at.",
        "template <typename D, typename A, typename B, typename X, typename Y>",
        "static __aicore__ inline void select_by_tile(",
        "    D &dst, A &a, B &b, CmpMode mode, X &x, Y &y, int64_t bits_at)",
        "{",
        "    BitsOf<A> bits;",
        "    TASSIGN(bits, bits_at);",
        "    InOneRow<A> first;",
        "    TRESHAPE(first, a);",
        "    InOneRow<B> second;",
        "    TRESHAPE(second, b);",
        "    TCMP(bits, first, second, mode);",
        "    choose(dst, bits, x, y);",
        "}",
    ),
    "select_by_scalar": (
        "// dst = x where a compares with the scalar b, y elsewhere; the bits of the comparison go to bits_at.",
        "template <typename D, typename A, typename X, typename Y>",
        "static __aicore__ inline void select_by_scalar(",
        "    D &dst, A &a, typename A::DType b, CmpMode mode, X &x, Y &y, int64_t bits_at)",
        "{",
        "    BitsOf<A> bits;",
        "    TASSIGN(bits, bits_at);",
        "    InOneRow<A> first;",
        "    TRESHAPE(first, a);",
        "    TCMPS(bits, first, b, mode);",
        "    choose(dst, bits, x, y);",
        "}",
    ),
    "numbered": (
        "// first, first + 1, ... into a tile of one row.  The CPU simulator, whose tiles have elements, has no",
        "// scratch tile; without one the device would write element by element.",
        "template <typename Tile, typename Scratch>",
        "static __aicore__ inline auto numbered(Tile &tile, int32_t first, Scratch &, int)",
        "    -> decltype(void(tile.GetElement(0, 0)))",
        "{",
        "    TCI<Tile, int32_t, 0>(tile, first);",
        "}",
        "template <typename Tile, typename Scratch>",
        "static __aicore__ inline void numbered(Tile &tile, int32_t first, Scratch &scratch, long)",
        "{",
        "    TCI<Tile, Scratch, int32_t, 0>(tile, first, scratch);",
        "}",
    ),
    "Pairs": (
        "// Values and their numbers in one row, eight bytes for each.",
        "template <int Count>",
        "using Pairs = Ub<float, 1, 2 * Count>;",
    ),
    "merge_runs": (
        "// The largest Keep pairs of up to four sorted runs, the first Run pairs from the next, the last one of Last.",
        "template <int Keep, int Run, int Runs, int Last>",
        "static __aicore__ inline void merge_runs(int64_t from, int64_t to, int64_t room)",
        "{",
        "    constexpr int Of = Run < Keep ? Run : Keep, OfLast = Last < Keep ? Last : Keep;",
        "    constexpr int All = (Runs - 1) * Of + OfLast;",
        "    Pairs<Of> a, b, c;",
        "    Pairs<OfLast> last;",
        "    Pairs<All> scratch;",
        "    Pairs<(All < Keep ? All : Keep)> merged;",
        "    MrgSortExecutedNumList counts;",
        "    TASSIGN(a, from);",
        "    TASSIGN(b, from + 8 * Run);",
        "    TASSIGN(c, from + 16 * Run);",
        "    TASSIGN(last, from + 8 * Run * (Runs - 1));",
        "    TASSIGN(scratch, room);",
        "    TASSIGN(merged, to);",
        "    if constexpr (Runs == 1) {",
        "        TMOV(merged, last);",
        "    } else if constexpr (Runs == 2) {",
        "        TMRGSORT<decltype(merged), decltype(scratch), Pairs<Of>, Pairs<OfLast>, false>(",
        "            merged, counts, scratch, a, last);",
        "    } else if constexpr (Runs == 3) {",
        "        TMRGSORT<decltype(merged), decltype(scratch), Pairs<Of>, Pairs<Of>, Pairs<OfLast>, false>(",
        "            merged, counts, scratch, a, b, last);",
        "    } else {",
        "        TMRGSORT<decltype(merged), decltype(scratch), Pairs<Of>, Pairs<Of>, Pairs<Of>, Pairs<OfLast>, false>(",
        "            merged, counts, scratch, a, b, c, last);",
        "    }",
        "    pipe_barrier(PIPE_V);",
        "}",
    ),
    "merge_all": (
        "// Where the largest Keep of Count pairs are in the end, whose sorted runs of Run lie at from.",
        "template <int Keep, int Run, int Count>",
        "static __aicore__ inline int64_t merge_all(int64_t from, int64_t to, int64_t room)",
        "{",
        "    if constexpr (Run >= Count) {",
        "        return from;",
        "    } else {",
        "        constexpr int Whole = Count / (4 * Run), Rest = Count % (4 * Run);",
        "        for (int64_t k = 0; k < Whole; ++k) {",
        "            merge_runs<Keep, Run, 4, Run>(from + k * 32 * Run, to + k * 32 * Run, room);",
        "        }",
        "        if constexpr (Rest > 0) {",
        "            merge_runs<Keep, Run, (Rest + Run - 1) / Run, (Rest - 1) % Run + 1>(",
        "                from + Whole * 32 * Run, to + Whole * 32 * Run, room);",
        "        }",
        "        return merge_all<Keep, 4 * Run, Count>(to, from, room);",
        "    }",
        "}",
    ),
    "largest_of_rows": (
        "// The numbers of the largest Keep elements of every row, the largest first: rows of floats at x, the numbers",
        "// of their columns, room for three rows of pairs.",
        "template <int Rows, int Cols, int Keep>",
        "static __aicore__ inline void largest_of_rows(int64_t dst, int64_t x, int64_t numbers_at, int64_t room)",
        "{",
        "    Ub<uint32_t, 1, Cols> numbers;",
        "    Pairs<Cols> runs;",
        "    TASSIGN(numbers, numbers_at);",
        "    TASSIGN(runs, room);",
        "    for (int64_t r = 0; r < Rows; ++r) {",
        "        Ub<float, 1, Cols> row;",
        "        Pairs<Keep> sorted;",
        "        Ub<int32_t, 1, Keep> found;",
        "        TASSIGN(row, x + r * 4 * Cols);",
        "        TASSIGN(found, dst + r * 4 * Keep);",
        "        TSORT32(runs, row, numbers);",
        "        pipe_barrier(PIPE_V);",
        "        TASSIGN(sorted, merge_all<Keep, 32, Cols>(room, room + 8 * Cols, room + 16 * Cols));",
        "        TGATHER<decltype(found), decltype(sorted), MaskPattern::P1010>(found, sorted);",
        "        pipe_barrier(PIPE_V);",
        "    }",
        "}",
    ),
    "take_of_rows": (
        "// The elements of every row of Cols at x, four bytes each, in the Count columns that places name.",
        "template <typename T, int Rows, int Cols, int Count>",
        "static __aicore__ inline void take_of_rows(int64_t dst, int64_t x, int64_t places_at)",
        "{",
        "    for (int64_t r = 0; r < Rows; ++r) {",
        "        Ub<T, 1, Cols> row;",
        "        Ub<T, 1, Count> taken;",
        "        Ub<int32_t, 1, Count> places;",
        "        TASSIGN(row, x + r * 4 * Cols);",
        "        TASSIGN(taken, dst + r * 4 * Count);",
        "        TASSIGN(places, places_at + r * 4 * Count);",
        "        TGATHER(taken, row, places, places);",
        "    }",
        "}",
    ),
    "sum_behind": (
        "// Every row of Count is added to the one Step behind it, then twice as far; where all sums are in the end.",
        "template <typename T, int Count, int High, int Valid, int Step>",
        "static __aicore__ inline int64_t sum_behind(int64_t from, int64_t to)",
        "{",
        "    if constexpr (Step >= Count) {",
        "        return from;",
        "    } else {",
        "        constexpr int64_t Far = int64_t{Step} * High * sizeof(T);",
        "        Ub<T, Step, High, Step, Valid> first, same;",
        "        Ub<T, Count - Step, High, Count - Step, Valid> early, late, sums;",
        "        TASSIGN(first, from);",
        "        TASSIGN(same, to);",
        "        TASSIGN(early, from);",
        "        TASSIGN(late, from + Far);",
        "        TASSIGN(sums, to + Far);",
        "        TMOV(same, first);",
        "        TADD(sums, late, early);",
        "        pipe_barrier(PIPE_V);",
        "        return sum_behind<T, Count, High, Valid, 2 * Step>(to, from);",
        "    }",
        "}",
    ),
    "running_sum": (
        "// dst = the sums of every row of x up to each column, by way of two transposes in room: columns lie too close",
        "// to be added to others.",
        "template <typename D, typename X>",
        "static __aicore__ inline void running_sum(D &dst, X &x, int64_t room)",
        "{",
        "    using T = typename X::DType;",
        "    constexpr int High = (X::Rows + 15) / 16 * 16;",
        "    constexpr int64_t Bytes = int64_t{X::Cols} * High * sizeof(T);",
        "    using Turned = Ub<T, X::Cols, High, X::Cols, X::Rows>;",
        "    Turned columns, other;",
        "    TASSIGN(columns, room);",
        "    TASSIGN(other, room + Bytes);",
        "    TTRANS(columns, x, other);",
        "    pipe_barrier(PIPE_V);",
        "    const int64_t found = sum_behind<T, X::Cols, High, X::Rows, 1>(room, room + Bytes);",
        "    TASSIGN(columns, found);",
        "    TASSIGN(other, 2 * room + Bytes - found);",
        "    TTRANS(dst, columns, other);",
        "}",
    ),
    "scale_bits": (
        "// A scale on the way out of L0C: ten bits of its fraction, and whether integers have a sign.",
        "static __aicore__ inline uint64_t scale_bits(float scale, bool is_signed)",
        "{",
        "    const uint32_t bits = __builtin_bit_cast(uint32_t, scale) & 0xFFFFE000u;",
        "    return bits | (is_signed ? uint64_t{1} << 46 : 0);",
        "}",
    ),
    "rows_loaded": (
        "// A load into some rows of a tile, from where it begins on; the others stay as they are.  The load of",
        "// the CPU simulator, whose tiles have elements, would fill them.",
        "template <int Rows, typename Tile, typename Tensor>",
        "static __aicore__ inline auto rows_loaded(Tile &tile, Tensor &tensor, int)",
        "    -> decltype(void(tile.GetElement(0, 0)))",
        "{",
        "    for (int64_t r = 0; r < tile.GetValidRow(); ++r) {",
        "        for (int64_t c = 0; c < tile.GetValidCol(); ++c) {",
        "            tile.SetElement(r, c, tensor.GetElement(0, 0, 0, r, c));",
        "        }",
        "    }",
        "}",
        "template <int Rows, typename Tile, typename Tensor>",
        "static __aicore__ inline void rows_loaded(Tile &tile, Tensor &tensor, long)",
        "{",
        "    TLOAD(tile, tensor);",
        "}",
    ),
    "signal": (
        "// Tells the consumer that the slot pushed last is full.  The pipe of the device takes no",
        "// template arguments here; the one of the CPU simulator takes the tile and the split.",
        "template <typename Tile, typename Pipe>",
        "static __aicore__ inline auto signal(Pipe &pipe, int) -> decltype(pipe.prod.record())",
        "{",
        "    pipe.prod.record();",
        "}",
        "template <typename Tile, typename Pipe>",
        "static __aicore__ inline void signal(Pipe &pipe, long)",
        "{",
        "    pipe.prod.template record<Tile, TILE_UP_DOWN>();",
        "}",
    ),
    "push_nothing": (
        "// The FIFO goes on by one place, with its signals, and no tile moves: nobody reads that slot.",
        "// The pipe of the CPU simulator keeps its places by its tiles, so there one moves.",
        "template <typename Pipe, typename Tile, TileSplitAxis Split>",
        "static __aicore__ inline auto push_nothing(Pipe &pipe, Tile &, int) -> decltype(pipe.prod.record())",
        "{",
        "    if (pipe.prod.isAllocate && Pipe::shouldWaitFree(pipe.prod.tileIndex)) {",
        "        pipe.prod.allocate();",
        "    }",
        "    if (pipe.prod.isRecord) {",
        "        pipe.prod.record();",
        "    }",
        "    ++pipe.prod.tileIndex;",
        "}",
        "template <typename Pipe, typename Tile, TileSplitAxis Split>",
        "static __aicore__ inline void push_nothing(Pipe &pipe, Tile &tile, long)",
        "{",
        "    TPUSH<Pipe, Tile, Split>(pipe, tile);",
        "}",
    ),
    "pop_nothing": (
        "// The FIFO goes on by one place, with its signals, and no tile moves: nobody reads the result.",
        "// The pipe of the CPU simulator keeps its places by its tiles, so there one moves.",
        "template <typename Pipe, typename Tile, TileSplitAxis Split>",
        "static __aicore__ inline auto pop_nothing(Pipe &pipe, Tile &, int) -> decltype(pipe.prod.record())",
        "{",
        "    if (pipe.cons.isWait) {",
        "        pipe.cons.wait();",
        "    }",
        "    if (pipe.cons.isFree && Pipe::shouldNotifyFree(pipe.cons.tileIndex)) {",
        "        pipe.cons.free();",
        "    }",
        "    ++pipe.cons.tileIndex;",
        "}",
        "template <typename Pipe, typename Tile, TileSplitAxis Split>",
        "static __aicore__ inline void pop_nothing(Pipe &pipe, Tile &tile, long)",
        "{",
        "    TPOP<Pipe, Tile, Split>(pipe, tile);",
        "}",
    ),
    "without_credit": (
        "// No push waits for a free slot and no pop tells of one: other hand-overs keep them apart.",
        "// The pipe of the CPU simulator finds its slots by these calls and keeps to them.",
        "template <typename Pipe>",
        "static __aicore__ inline auto without_credit(Pipe &pipe, int) -> decltype(pipe.prod.record())",
        "{",
        "    pipe.prod.setAllocateStatus(false);",
        "    pipe.cons.setFreeStatus(false);",
        "}",
        "template <typename Pipe>",
        "static __aicore__ inline void without_credit(Pipe &, long)",
        "{",
        "}",
    ),
    "without_signal": (
        "// No push tells of its tile and no pop waits for one: the signal of another hand-over tells.",
        "// The pipe of the CPU simulator finds its slots by these calls and keeps to them.",
        "template <typename Pipe>",
        "static __aicore__ inline auto without_signal(Pipe &pipe, int) -> decltype(pipe.prod.record())",
        "{",
        "    pipe.prod.setRecordStatus(false);",
        "    pipe.cons.setWaitStatus(false);",
        "}",
        "template <typename Pipe>",
        "static __aicore__ inline void without_signal(Pipe &, long)",
        "{",
        "}",
    ),
    "data": (
        "// The first element of the tensor that an argument points to.",
        "template <typename T>",
        "static __aicore__ inline __gm__ T *data(int64_t argument)",
        "{",
        "    __gm__ ChipTensor *tensor = reinterpret_cast<__gm__ ChipTensor *>(argument);",
        "    return reinterpret_cast<__gm__ T *>(tensor->buffer.addr) + tensor->start_offset;",
        "}",
    ),
}
"""Constants and small functions of a kernel source, in front of the core that uses them, or of both."""

ACCEPTS = """\
// Whether a tensor is what the kernel takes: of this type and these sizes, its elements side by side.
static bool accepts(const ChipTensor &tensor, DataType dtype, std::initializer_list<int64_t> sizes,
                    const char *what)
{
    bool good = tensor.dtype == dtype && tensor.ndims == sizes.size();
    int64_t step = 1;
    for (size_t k = sizes.size(); good && k-- > 0;) {
        const int64_t size = sizes.begin()[k];
        good = tensor.shapes[k] == size && (size == 1 || tensor.strides[k] == step);
        step *= size;
    }
    if (!good) {
        rt_report_fatal(PTO2_ERROR_INVALID_ARGS, "not a contiguous tensor %s", what);
    }
    return good;
}"""

HOLDS = """\
// Whether what a launch needs is so.
static bool holds(bool condition, const char *what)
{
    if (!condition) {
        rt_report_fatal(PTO2_ERROR_INVALID_ARGS, "%s", what);
    }
    return condition;
}"""

FLOAT_OF = """\
// A float travels as its 32 bits.
static float float_of(uint64_t scalar)
{
    const uint32_t bits = static_cast<uint32_t>(scalar);
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
}"""

HOST_FUNCTIONS: Functions = MappingProxyType(
    {
        **{
            name: tuple(t.replace("__aicore__ ", "") for t in text)
            for name, text in FUNCTIONS.items()
        },
        "accepts": tuple(ACCEPTS.split("\n")),
        "holds": tuple(HOLDS.split("\n")),
        "float_of": tuple(FLOAT_OF.split("\n")),
    }
)
"""The same without a device, and what a launch demands of its arguments: all else would be misread."""


def tops_of(words: frozenset[str], functions: Functions) -> frozenset[str]:
    """Which of ``functions`` a text that says these words needs, and which of them those need."""
    found = words.intersection(functions)
    inside = words | said(line for name in found for line in functions[name])
    return found if inside == words else tops_of(inside, functions)


def top_lines(names: frozenset[str], functions: Functions) -> list[str]:
    """The definitions of ``names``, in the order of the table."""
    return [line for n, text in functions.items() if n in names for line in (*text, "")]
