// The instructions of the tile library that emitted kernels use, as work for the machine.
//
// Arithmetic is in float32 (int32 for integers), rounded to the type of the result to the nearest, ties
// to even.  What the device demands is demanded here (docs/machine.md 12): by static_assert where
// types and shapes decide, by a report where numbers do.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "native/tile.hpp"

namespace pto {

using native::Extent;
using native::Pipe;

template <typename T>
using Values = std::vector<native::wide_t<T>>;

template <typename T>
constexpr bool is_vector_type =
    std::is_same_v<T, float> || std::is_same_v<T, half> || std::is_same_v<T, int32_t> || std::is_same_v<T, int16_t>;

template <typename T>
constexpr bool is_float_type = std::is_same_v<T, float> || std::is_same_v<T, half>;

template <typename Tile_>
constexpr bool is_vec = Tile_::Loc == TileType::Vec;

// ------------------------------------------------------------------------------ elements

// ``rows`` x ``cols`` elements of a tile from (row, col) on, row by row; each must have been written.
template <typename Tile_>
Values<typename Tile_::DType> elements_at(const Tile_ &tile, int64_t row, int64_t col, int64_t rows, int64_t cols,
                                          const Where &at)
{
    using T = typename Tile_::DType;
    Values<T> found(static_cast<size_t>(rows * cols));
    const T *data = tile.data();
    const uint8_t *marks = tile.marks();
    bool whole = true;
    for (int64_t r = 0, k = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c, ++k) {
            const int64_t n = Tile_::index(row + r, col + c);
            found[static_cast<size_t>(k)] = static_cast<native::wide_t<T>>(data[n]);
            whole = whole && marks[n * static_cast<int64_t>(sizeof(T))] != 0;
        }
    }
    if (!whole) {
        native::report("uninitialised", "reads a tile that was not written, or not all of it", at);
    }
    return found;
}

// The first ``rows`` x ``cols`` elements.
template <typename Tile_>
Values<typename Tile_::DType> elements(const Tile_ &tile, int64_t rows, int64_t cols, const Where &at)
{
    return elements_at(tile, 0, 0, rows, cols, at);
}

template <typename Tile_>
Values<typename Tile_::DType> elements(const Tile_ &tile, const Where &at)
{
    return elements(tile, tile.valid_rows, tile.valid_cols, at);
}

// To the nearest, ties to even; integers saturate, and NaN is 0.
template <typename T, typename W>
T rounded(W value)
{
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, W>) {
        const double near = std::nearbyint(static_cast<double>(value));
        const double least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
        return static_cast<T>(std::clamp(std::isnan(near) ? 0.0 : near, least, most));
    } else {
        return static_cast<T>(value);
    }
}

// Writes ``rows`` x ``cols`` elements from (row, col) on, given row by row.
template <typename Tile_, typename W>
void put_at(const Tile_ &tile, int64_t row, int64_t col, int64_t rows, int64_t cols, const std::vector<W> &values)
{
    using T = typename Tile_::DType;
    T *data = tile.data();
    uint8_t *marks = tile.marks();
    for (int64_t r = 0, k = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c, ++k) {
            const int64_t n = Tile_::index(row + r, col + c);
            data[n] = rounded<T>(values[static_cast<size_t>(k)]);
            std::memset(marks + n * static_cast<int64_t>(sizeof(T)), 1, sizeof(T));
        }
    }
}

template <typename Tile_, typename W>
void put(const Tile_ &tile, int64_t rows, int64_t cols, const std::vector<W> &values)
{
    put_at(tile, 0, 0, rows, cols, values);
}

constexpr uint8_t FILLED = 2;  // a mark: TEXPANDS wrote here, and no load since

// What a load does not write can be anything, so it is NaN; but for zeros of a fill right before it.
template <typename Tile_>
void leave_rest(const Tile_ &tile, int64_t rows = Tile_::Rows, int64_t cols = Tile_::Cols)
{
    using T = typename Tile_::DType;
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
            const int64_t n = Tile_::index(r, c);
            uint8_t *mark = tile.marks() + n * static_cast<int64_t>(sizeof(T));
            if (*mark != FILLED) {
                std::memset(static_cast<void *>(tile.data() + n), 0xFF, sizeof(T));
            }
            std::memset(mark, 1, sizeof(T));
        }
    }
}

// What ``first`` finds for ``second``.  A class, not two ``std::function``: a kernel has as many as it has forms of
// instructions, and most of the time that it takes to compile goes into them.
template <typename First, typename Second>
struct Both final : native::Action {
    First first;
    Second second;
    std::invoke_result_t<First> found{};

    Both(First first_, Second second_) : first(std::move(first_)), second(std::move(second_)) {}
    void fetch() override { found = first(); }
    void commit() override { second(found); }
};

// Puts ``fetch`` and ``commit`` into a queue, with what the first finds for the second.
template <typename Fetch, typename Commit>
void run(Pipe pipe, std::vector<Extent> reads, std::vector<Extent> writes, Fetch fetch, Commit commit,
         const Where &at)
{
    auto *both = new Both<Fetch, Commit>(std::move(fetch), std::move(commit));
    native::issue(pipe, std::move(reads), std::move(writes), both, at);
}

template <typename A, typename B>
void same_valid(const A &a, const B &b, const Where &at)
{
    if (a.valid_rows != b.valid_rows || a.valid_cols != b.valid_cols) {
        native::report("shape", "the valid sizes of the operands differ", at);
    }
}

// ------------------------------------------------------------------------------ transfers

// The rows of a GM region as extents, if anything ever writes to its tensor.
template <typename Gm>
std::vector<Extent> extents(const Gm &gm, int64_t rows, int64_t cols, bool adds = false)
{
    std::vector<Extent> found;
    if (rows * cols == 0 || !native::written_gm(gm.first)) {
        return found;
    }
    const bool by_rows = Gm::layout == Layout::ND;
    for (int64_t k = 0; k < (by_rows ? rows : cols); ++k) {
        const auto *first = by_rows ? gm.at(k, 0) : gm.at(0, k);
        const auto low = reinterpret_cast<uint64_t>(first);
        found.push_back({native::Space::GM, low,
                         low + static_cast<uint64_t>(by_rows ? cols : rows) * sizeof(typename Gm::DType), adds});
    }
    return found;
}

template <typename Gm>
bool inside(const Gm &gm, int64_t rows, int64_t cols, bool writes, const Where &at)
{
    const bool by_rows = Gm::layout == Layout::ND;
    bool good = true;
    for (int64_t k = 0; good && rows * cols > 0 && k < (by_rows ? rows : cols); ++k) {
        const void *first = by_rows ? gm.at(k, 0) : gm.at(0, k);
        const auto bytes = static_cast<uint64_t>(by_rows ? cols : rows) * sizeof(typename Gm::DType);
        good = native::inside_gm(first, bytes, writes, at);
    }
    return good;
}

template <typename Tile_, typename Gm>
bool fits(const Tile_ &tile, const Gm &gm, const Where &at)
{
    const bool pages = Tile_::Boxed && gm.shape.values[2] != 1;  // docs/machine.md 12
    const bool good = tile.valid_rows == gm.rows() && tile.valid_cols == gm.cols() && !pages;
    if (!good) {
        native::report("shape", "a transfer between a tile and a region of another size", at);
    }
    return good;
}

// A load that writes the first ``rows`` and ``cols`` of a tile, which are the bytes ``writes``.
template <typename Tile_, typename Gm>
void load_part(const Tile_ &tile, const Gm &gm, int64_t rows, int64_t cols, std::vector<Extent> writes, const Where &at)
{
    using T = typename Tile_::DType;
    if (!fits(tile, gm, at) || !inside(gm, gm.rows(), gm.cols(), false, at)) {
        return;
    }
    run(
        Pipe::MTE2, extents(gm, gm.rows(), gm.cols()), std::move(writes),
        [gm] {
            std::vector<T> found;
            found.reserve(static_cast<size_t>(gm.rows() * gm.cols()));
            for (int64_t r = 0; r < gm.rows(); ++r) {
                for (int64_t c = 0; c < gm.cols(); ++c) {
                    found.push_back(*gm.at(r, c));
                }
            }
            return found;
        },
        [tile, rows, cols](const std::vector<T> &found) {
            if (tile.valid_rows < rows || tile.valid_cols < cols) {
                leave_rest(tile, rows, cols);
            }
            put(tile, tile.valid_rows, tile.valid_cols, found);
        },
        at);
}

// A pair of words for each column of what leaves L0C: one row of elements of 64 bits.
template <typename Tile_>
constexpr bool is_scales = std::is_same_v<typename Tile_::DType, uint64_t> && Tile_::Rows == 1 && Tile_::RowMajor &&
                           (Tile_::Loc == TileType::Mat || Tile_::Loc == TileType::Scaling);

template <typename Tile_, typename Gm>
void TLOAD(Tile_ &tile, const Gm &gm, const Where &at = Where::current())
{
    using T = typename Tile_::DType;
    static_assert(sizeof(T) == sizeof(typename Gm::DType), "a load keeps the element size");
    static_assert(Tile_::Loc == TileType::Vec || Tile_::Loc == TileType::Mat, "GM loads into UB or L1");
    static_assert(!is_vec<Tile_> || (Gm::layout == Layout::ND) == Tile_::RowMajor,
                  "UB takes rows from ND and columns from DN");
    static_assert(is_vec<Tile_> || Tile_::Boxed || is_scales<Tile_>, "L1 holds boxes, or scales");
    static_assert(!is_vec<Tile_> || !Tile_::RowMajor || Tile_::Rows <= 4095, "more rows than one load takes");
    load_part(tile, gm, Tile_::Rows, Tile_::Cols, {tile.extent()}, at);
}

// Emitted where a tile is gathered: a load into some rows of it, which leaves the others as they are.  Rows of
// the transpose, where the boxes of a tile lie row by row.
template <int Rows, TileType L, typename T, int R, int C, BLayout B, int VR, int VC, SLayout S, int F, PadValue P,
          typename Gm>
void rows_loaded(Tile<L, T, R, C, B, VR, VC, S, F, P> &tile, Gm &gm, int, const Where &at = Where::current())
{
    using Tile_ = Tile<L, T, R, C, B, VR, VC, S, F, P>;
    static_assert(L == TileType::Mat && Tile_::Boxed, "rows of a tile in L1");
    constexpr bool turned = B == BLayout::RowMajor;
    constexpr uint64_t high = turned ? C : R, wide = turned ? R : C;
    constexpr uint64_t unit = static_cast<uint64_t>(turned ? Tile_::BoxRows : Tile_::BoxCols);
    static_assert(Rows % 16 == 0, "whole boxes");
    std::vector<Extent> found;
    for (uint64_t k = 0; k < wide / unit; ++k) {
        const uint64_t low = static_cast<uint64_t>(tile.address) + k * high * unit * sizeof(T);
        found.push_back({Tile_::space, low, low + Rows * unit * sizeof(T)});
    }
    load_part(tile, gm, turned ? R : Rows, turned ? Rows : C, std::move(found), at);
}

// Emitted where a load has no element: a device does nothing, here the whole slot can be anything.
template <TileType L, typename T, int R, int C, BLayout B, int VR, int VC, SLayout S, int F, PadValue P>
void nothing_loaded(Tile<L, T, R, C, B, VR, VC, S, F, P> &tile, const Where &at = Where::current())
{
    run(Pipe::MTE2, {}, {tile.extent()}, [] { return 0; }, [tile](int) { leave_rest(tile); }, at);
}

enum class AtomicType : uint8_t { AtomicNone, AtomicAdd };

template <typename T>
void put_element(T *element, T value)
{
    native::forget_sum(element);
    *element = value;
}

// Integers wrap around.
template <typename T>
void add_element(T *element, T term)
{
    if constexpr (std::is_same_v<T, int32_t>) {
        *element = static_cast<int32_t>(static_cast<uint32_t>(*element) + static_cast<uint32_t>(term));
    } else {
        native::Sum &sum = native::sum_of(element, static_cast<float>(*element));
        sum.add(static_cast<float>(term));
        *element = rounded<T>(sum.value());
    }
}

template <typename Tile_, typename Gm, AtomicType Atomic>
void TSTORE(const Gm &gm, const Tile_ &tile, const Where &at = Where::current())
{
    using T = typename Gm::DType;
    constexpr bool acc = Tile_::Loc == TileType::Acc;
    static_assert(is_vec<Tile_> || acc, "UB and L0C store to GM");
    static_assert(acc || std::is_same_v<T, typename Tile_::DType>, "UB stores its own type");
    static_assert(!acc || std::is_same_v<typename Tile_::DType, float> || std::is_same_v<T, int32_t>,
                  "integers leave L0C as they are");
    static_assert(!acc || std::is_same_v<typename Tile_::DType, int32_t> || std::is_same_v<T, float> ||
                      std::is_same_v<T, half> || std::is_same_v<T, bfloat16_t>,
                  "floats leave L0C as floats");
    static_assert(acc || (Gm::layout == Layout::ND && Tile_::RowMajor), "rows go out as rows");
    static_assert(!acc || (Tile_::Cols <= 4095 && Tile_::Rows <= 8192), "more than FIX stores at once");
    static_assert(acc || Tile_::Rows <= 4095, "more rows than one store takes");
    if (!fits(tile, gm, at) || !inside(gm, gm.rows(), gm.cols(), true, at)) {
        return;
    }
    constexpr bool adds = Atomic == AtomicType::AtomicAdd;
    run(
        acc ? Pipe::FIX : Pipe::MTE3, {tile.extent()}, extents(gm, gm.rows(), gm.cols(), adds),
        [tile, at] { return elements(tile, at); },
        [gm](const Values<typename Tile_::DType> &found) {
            for (int64_t r = 0, k = 0; r < gm.rows(); ++r) {
                for (int64_t c = 0; c < gm.cols(); ++c, ++k) {
                    const T value = rounded<T>(found[static_cast<size_t>(k)]);
                    adds ? add_element(gm.at(r, c), value) : put_element(gm.at(r, c), value);
                }
            }
        },
        at);
}

template <typename Gm, typename Tile_>
void TSTORE(const Gm &gm, const Tile_ &tile, const Where &at = Where::current())
{
    TSTORE<Tile_, Gm, AtomicType::AtomicNone>(gm, tile, at);
}

// Emitted where a store adds; here it knows its line.
template <typename Gm, TileType L, typename T, int R, int C, BLayout B, int VR, int VC, SLayout S, int F, PadValue P>
void add_to(Gm &gm, Tile<L, T, R, C, B, VR, VC, S, F, P> &tile, const Where &at = Where::current())
{
    TSTORE<Tile<L, T, R, C, B, VR, VC, S, F, P>, Gm, AtomicType::AtomicAdd>(gm, tile, at);
}
// Times a scale of ten bits of fraction, saturating; bit 46 says that integers have a sign.
template <typename Gm, typename Tile_>
void TSTORE(const Gm &gm, const Tile_ &tile, uint64_t scale, const Where &at = Where::current())
{
    using T = typename Gm::DType;
    constexpr bool bytes = std::is_integral_v<T> && sizeof(T) == 1;
    static_assert(Tile_::Loc == TileType::Acc, "a scale is of what leaves L0C");
    static_assert(bytes || (std::is_same_v<T, half> && std::is_same_v<typename Tile_::DType, int32_t>), "no scale to this type");
    static_assert(Tile_::Cols <= 4095 && Tile_::Rows <= 8192, "more than FIX stores at once");
    if (scale % (1u << 13) != 0 || (scale >> 46) != (std::is_same_v<T, int8_t> ? 1u : 0u)) {
        native::report("mode", "a scale of more bits than the way out of L0C has, or of another sign than its result", at);
    }
    if (!fits(tile, gm, at) || !inside(gm, gm.rows(), gm.cols(), true, at)) {
        return;
    }
    const float by = std::bit_cast<float>(static_cast<uint32_t>(scale));
    run(
        Pipe::FIX, {tile.extent()}, extents(gm, gm.rows(), gm.cols()), [tile, at] { return elements(tile, at); },
        [gm, by](const Values<typename Tile_::DType> &found) {
            for (int64_t r = 0, k = 0; r < gm.rows(); ++r) {
                for (int64_t c = 0; c < gm.cols(); ++c, ++k) {
                    const float product = static_cast<float>(found[static_cast<size_t>(k)]) * by;
                    *gm.at(r, c) = rounded<T>(bytes ? product : std::clamp(product, -65504.0f, 65504.0f));
                }
            }
        },
        at);
}

// A scale of ten bits of fraction for each column, saturating.
template <typename Gm, TileType L, typename S, int R, int C, BLayout B, int VR, int VC, SLayout Y, int F, PadValue P,
          typename Scales_>
void stored_by_columns(Gm &gm, Tile<L, S, R, C, B, VR, VC, Y, F, P> &tile, Scales_ &scales, int,
                       const Where &at = Where::current())
{
    using T = typename Gm::DType;
    constexpr bool bytes = std::is_integral_v<T> && sizeof(T) == 1;
    static_assert(L == TileType::Acc && Scales_::Loc == TileType::Scaling && is_scales<Scales_>, "scales of what leaves L0C");
    static_assert(bytes || (std::is_same_v<T, half> && std::is_same_v<S, int32_t>), "no scale to this type");
    static_assert(C == Scales_::Cols, "a scale for each column");
    static_assert(C <= 4095 && R <= 8192, "more than FIX stores at once");
    if (!fits(tile, gm, at) || !inside(gm, gm.rows(), gm.cols(), true, at)) {
        return;
    }
    run(
        Pipe::FIX, {tile.extent(), scales.extent()}, extents(gm, gm.rows(), gm.cols()),
        [tile, scales, at, cols = gm.cols()] {
            return std::pair{elements(tile, at), elements(scales, 1, cols, at)};
        },
        [gm, at](const std::pair<Values<S>, Values<uint64_t>> &found) {
            for (int64_t r = 0, k = 0; r < gm.rows(); ++r) {
                for (int64_t c = 0; c < gm.cols(); ++c, ++k) {
                    const uint64_t pair = found.second[static_cast<size_t>(c)];
                    if (pair >> 32 != (std::is_same_v<T, int8_t> ? 1u << 14 : 0u)) {
                        native::report("mode", "a scale of another sign than its result, or with an offset", at);
                        return;
                    }
                    const float by = std::bit_cast<float>(static_cast<uint32_t>(pair) >> 13 << 13);
                    const float product = static_cast<float>(found.first[static_cast<size_t>(k)]) * by;
                    *gm.at(r, c) = rounded<T>(bytes ? product : std::clamp(product, -65504.0f, 65504.0f));
                }
            }
        },
        at);
}

// A tile of boxes that is turned on its way to L0 has whole boxes both ways.
template <typename A, typename B>
constexpr int box_rows = std::max({16, A::BoxRows, B::BoxRows});
template <typename A, typename B>
constexpr int box_cols = std::max({16, A::BoxCols, B::BoxCols});
template <typename A, typename B>
constexpr bool whole_boxes = A::Rows % box_rows<A, B> == 0 && A::Cols % box_cols<A, B> == 0;

// L1 to the buffer of FIX, in bursts of 128 bytes.
template <typename Dst, typename Src>
void scales_moved(Dst &dst, const Src &src, const Where &at)
{
    using T = typename Dst::DType;
    static_assert(is_scales<Dst> && is_scales<Src> && Src::Loc == TileType::Mat, "no such path on this chip");
    static_assert(Dst::Cols == Src::Cols && Dst::Bytes % 128 == 0, "a move keeps the shape, of whole bursts");
    run(
        Pipe::FIX, {src.extent()}, {dst.extent()}, [src, at] { return elements(src, 1, Src::Cols, at); },
        [dst](const Values<T> &found) { put(dst, 1, Dst::Cols, found); }, at);
}

// L1 to L0, or within UB.
template <typename Dst, typename Src>
void tile_moved(Dst &dst, const Src &src, const Where &at)
{
    using T = typename Dst::DType;
    constexpr bool in_ub = is_vec<Dst> && is_vec<Src>;
    constexpr bool to_l0 = Src::Loc == TileType::Mat && (Dst::Loc == TileType::Left || Dst::Loc == TileType::Right);
    static_assert(in_ub || to_l0, "no such path on this chip");
    static_assert(std::is_same_v<T, typename Src::DType>, "a move keeps the type");
    static_assert(Dst::Rows == Src::Rows && Dst::Cols == Src::Cols, "a move keeps the shape");
    static_assert(in_ub || whole_boxes<Dst, Src>, "whole boxes of both memories");
    if constexpr (in_ub) {
        same_valid(dst, src, at);
    }
    int64_t rows = Dst::Rows, cols = Dst::Cols;
    if constexpr (in_ub) {
        rows = dst.valid_rows;
        cols = dst.valid_cols;
    }
    run(
        in_ub ? Pipe::V : Pipe::MTE1, {src.extent()}, {dst.extent()},
        [src, rows, cols, at] { return elements(src, rows, cols, at); },
        [dst, rows, cols](const Values<T> &found) { put(dst, rows, cols, found); }, at);
}

template <typename Dst, typename Src>
void TMOV(Dst &dst, const Src &src, const Where &at = Where::current())
{
    if constexpr (Dst::Loc == TileType::Scaling) {
        scales_moved(dst, src, at);
    } else {
        tile_moved(dst, src, at);
    }
}

// A part of a tile in UB, row by row.
template <typename Tile_>
std::vector<Extent> rows_of(const Tile_ &tile, int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    std::vector<Extent> found;
    for (int64_t r = row; r < row + rows; ++r) {
        const auto low = static_cast<uint64_t>(tile.address + (r * Tile_::Cols + col) * static_cast<int64_t>(sizeof(typename Tile_::DType)));
        found.push_back({Tile_::space, low, low + static_cast<uint64_t>(cols) * sizeof(typename Tile_::DType)});
    }
    return found;
}

// Whether a part of a tile in UB lies inside of it, and begins and ends at whole units of 32 bytes.
template <typename Whole, typename Part>
bool in_units(const Whole &whole, const Part &part, int64_t row, int64_t col, const Where &at)
{
    using T = typename Whole::DType;
    static_assert(is_vec<Whole> && is_vec<Part> && Whole::RowMajor && Part::RowMajor, "rows in UB");
    static_assert(std::is_same_v<T, typename Part::DType>, "a part keeps the type");
    static_assert(Part::Rows <= Whole::Rows && Part::Cols <= Whole::Cols, "a part is no larger than the whole");
    constexpr int64_t unit = 32 / static_cast<int64_t>(sizeof(T));
    const bool inside = row >= 0 && col >= 0 && row + part.valid_rows <= whole.valid_rows && col + part.valid_cols <= whole.valid_cols;
    const bool good = inside && col % unit == 0 && part.valid_cols % unit == 0;
    if (!good) {
        native::report("tile", "a part that is not inside of its tile, or begins or ends inside of 32 bytes", at);
    }
    return good;
}

template <typename Dst, typename Src>
std::enable_if_t<is_vec<Dst>> TEXTRACT(Dst &dst, const Src &src, int64_t row, int64_t col, const Where &at = Where::current())
{
    using T = typename Dst::DType;
    if (!in_units(src, dst, row, col, at)) {
        return;
    }
    run(
        Pipe::V, rows_of(src, row, col, dst.valid_rows, dst.valid_cols), {dst.extent()},
        [src, dst, row, col, at] { return elements_at(src, row, col, dst.valid_rows, dst.valid_cols, at); },
        [dst](const Values<T> &found) { put(dst, dst.valid_rows, dst.valid_cols, found); }, at);
}

template <typename Dst, typename Src>
void TINSERT(Dst &dst, const Src &src, int64_t row, int64_t col, const Where &at = Where::current())
{
    using T = typename Dst::DType;
    if (!in_units(dst, src, row, col, at)) {
        return;
    }
    run(
        Pipe::V, {src.extent()}, rows_of(dst, row, col, src.valid_rows, src.valid_cols),
        [src, at] { return elements(src, src.valid_rows, src.valid_cols, at); },
        [dst, row, col, rows = src.valid_rows, cols = src.valid_cols](const Values<T> &found) {
            put_at(dst, row, col, rows, cols, found);
        },
        at);
}

template <typename Dst, typename Src>
std::enable_if_t<!is_vec<Dst>> TEXTRACT(Dst &dst, const Src &src, int64_t row, int64_t col, const Where &at = Where::current())
{
    using T = typename Dst::DType;
    static_assert(Src::Loc == TileType::Mat && (Dst::Loc == TileType::Left || Dst::Loc == TileType::Right), "no such path on this chip");
    static_assert(std::is_same_v<T, typename Src::DType>, "a part keeps the type");
    static_assert(Dst::Rows <= Src::Rows && Dst::Cols <= Src::Cols, "a part is no larger than the whole");
    static_assert(whole_boxes<Dst, Src> && whole_boxes<Src, Dst>, "whole boxes of both memories");
    constexpr int high = box_rows<Dst, Src>, wide = box_cols<Dst, Src>;
    if (row < 0 || col < 0 || row % high || col % wide || row + Dst::Rows > Src::Rows || col + Dst::Cols > Src::Cols) {
        native::report("tile", "a part that is not inside of its tile, or begins inside of a box", at);
        return;
    }
    run(
        Pipe::MTE1, {src.extent()}, {dst.extent()},
        [src, row, col, at] {
            const auto whole = elements(src, Src::Rows, Src::Cols, at);
            Values<T> found(static_cast<size_t>(Dst::Rows * Dst::Cols));
            for (int64_t r = 0, n = 0; r < Dst::Rows; ++r) {
                for (int64_t c = 0; c < Dst::Cols; ++c, ++n) {
                    found[static_cast<size_t>(n)] = whole[static_cast<size_t>((row + r) * Src::Cols + col + c)];
                }
            }
            return found;
        },
        [dst](const Values<T> &found) { put(dst, Dst::Rows, Dst::Cols, found); }, at);
}

// --------------------------------------------------------------------------------- cube

template <typename C, typename A, typename B>
void multiply(const C &c, const A &a, const B &b, bool adds, const Where &at)
{
    using T = typename A::DType;
    static_assert(C::Loc == TileType::Acc && A::Loc == TileType::Left && B::Loc == TileType::Right,
                  "a product goes from L0A and L0B into L0C");
    using Sum = std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float>;
    static_assert(std::is_same_v<T, typename B::DType> && std::is_same_v<typename C::DType, Sum>,
                  "operands of one type, a float32 result, of int8 an int32");
    static_assert(std::is_same_v<T, bfloat16_t> || std::is_same_v<T, half> || std::is_same_v<T, float> || std::is_same_v<T, int8_t>,
                  "the matmul unit takes bf16, f16, f32 and i8");
    static_assert(A::Rows == C::Rows && A::Cols == B::Rows && B::Cols == C::Cols, "shapes of a product");
    static_assert(A::Rows <= 4095 && A::Cols <= 4095 && B::Cols <= 4095, "a dimension of up to 4095");
    static constexpr int64_t M = A::Rows, K = A::Cols, N = B::Cols;
    std::vector<Extent> reads{a.extent(), b.extent()};
    if (adds) {
        reads.push_back(c.extent());
    }
    run(
        Pipe::M, reads, {c.extent()},
        [a, b, c, adds, at] {
            const auto left = elements(a, M, K, at), right = elements(b, K, N, at);
            std::vector<Sum> sum = adds ? elements(c, M, N, at) : std::vector<Sum>(static_cast<size_t>(M * N));
            std::vector<Sum> product(static_cast<size_t>(M * N));
            for (int64_t i = 0; i < M; ++i) {
                Sum *row = product.data() + i * N;
                for (int64_t k = 0; k < K; ++k) {
                    const Sum x = left[static_cast<size_t>(i * K + k)];
                    const Sum *other = right.data() + k * N;
                    for (int64_t j = 0; j < N; ++j) {
                        row[j] += x * other[j];
                    }
                }
            }
            for (size_t k = 0; k < sum.size(); ++k) {
                sum[k] = adds ? sum[k] + product[k] : product[k];
            }
            return sum;
        },
        [c](const std::vector<Sum> &found) { put(c, M, N, found); }, at);
}

template <typename C, typename A, typename B>
void TMATMUL(C &c, const A &a, const B &b, const Where &at = Where::current())
{
    multiply(c, a, b, false, at);
}

template <typename C, typename A, typename B>
void TMATMUL_ACC(C &c, const C &old, const A &a, const B &b, const Where &at = Where::current())
{
    if (old.address != c.address) {
        native::report("address", "the device accumulates in place only", at);
    }
    multiply(c, a, b, true, at);
}

// ------------------------------------------------------------------------------- vector

template <typename D>
constexpr void check_vector()
{
    static_assert(is_vec<D>, "vector arithmetic is on UB");
    static_assert(is_vector_type<typename D::DType>, "vector arithmetic is in float, half, int32 or int16");
    static_assert(D::RowMajor, "vector arithmetic is on row-major tiles");
}

// What finds f(a, b(r, c)) of every element of d; ``second`` finds all of b.
template <typename D, typename A, typename Second, typename F>
auto of_each(const D &d, const A &a, Second second, F f, const Where &at)
{
    return [a, d, second, f, at] {
        auto found = elements(a, at);
        const auto other = second();
        for (int64_t r = 0, k = 0; r < d.valid_rows; ++r) {
            for (int64_t c = 0; c < d.valid_cols; ++c, ++k) {
                auto &x = found[static_cast<size_t>(k)];
                x = f(x, other(r, c));
            }
        }
        return found;
    };
}

// d = f(a, b(r, c)), element by element.
template <typename D, typename A, typename Second, typename F>
void each(const D &d, const A &a, std::vector<Extent> reads, Second second, F f, const Where &at)
{
    using T = typename D::DType;
    static_assert(std::is_same_v<T, typename A::DType>, "operands of one type");
    same_valid(d, a, at);
    reads.push_back(a.extent());
    run(
        Pipe::V, std::move(reads), {d.extent()}, of_each(d, a, second, f, at),
        [d](const Values<T> &found) { put(d, d.valid_rows, d.valid_cols, found); }, at);
}

template <typename D, typename A, typename Second, typename F>
void elementwise(const D &d, const A &a, std::vector<Extent> reads, Second second, F f, const Where &at)
{
    check_vector<D>();
    check_vector<A>();
    each(d, a, std::move(reads), std::move(second), std::move(f), at);
}

template <typename W>
struct Grid {
    std::vector<W> values;
    int64_t by_row, by_col;
    W operator()(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * by_row + c * by_col)]; }
};

template <typename D, typename A, typename B, typename F>
void binary(const D &d, const A &a, const B &b, int64_t by_row, int64_t by_col, F f, const Where &at)
{
    using W = native::wide_t<typename B::DType>;
    static_assert(is_vec<B> && std::is_same_v<typename D::DType, typename B::DType>, "operands of one type");
    elementwise(d, a, {b.extent()}, [b, by_row, by_col, at] { return Grid<W>{elements(b, at), by_row, by_col}; }, f, at);
}

template <typename D, typename A, typename B, typename F>
void by_tiles(const D &d, const A &a, const B &b, F f, const Where &at)
{
    check_vector<B>();
    same_valid(d, b, at);
    binary(d, a, b, d.valid_cols, 1, f, at);
}

template <typename D, typename A, typename B, typename F>
void by_rows(const D &d, const A &a, const B &b, F f, const Where &at)
{
    static_assert(B::Column || B::Cols * sizeof(typename B::DType) == 32, "one value, or 32 bytes, per row");
    if (b.valid_rows != d.valid_rows) {
        native::report("shape", "one value per row is needed", at);
        return;
    }
    binary(d, a, b, b.valid_cols, 0, f, at);
}

template <typename D, typename A, typename B, typename F>
void by_cols(const D &d, const A &a, const B &b, F f, const Where &at)
{
    check_vector<B>();
    if (b.valid_rows != 1 || b.valid_cols != d.valid_cols) {
        native::report("shape", "one value per column is needed", at);
        return;
    }
    binary(d, a, b, 0, 1, f, at);
}

template <typename D, typename A, typename F>
void by_scalar(const D &d, const A &a, typename D::DType s, F f, const Where &at)
{
    using W = native::wide_t<typename D::DType>;
    const W value = static_cast<W>(s);
    elementwise(d, a, {}, [value] { return Grid<W>{{value}, 0, 0}; }, f, at);
}

struct Add {
    template <typename W> W operator()(W a, W b) const { return a + b; }
};
struct Sub {
    template <typename W> W operator()(W a, W b) const { return a - b; }
};
struct Mul {
    template <typename W> W operator()(W a, W b) const { return a * b; }
};
struct Div {
    template <typename W> W operator()(W a, W b) const { return a / b; }
};
// As numpy: a NaN on either side stays.
struct Max {
    template <typename W> W operator()(W a, W b) const { return a > b || a != a ? a : b; }
};
struct Min {
    template <typename W> W operator()(W a, W b) const { return a < b || a != a ? a : b; }
};

#define NATIVE_BINARY(NAME, F)                                                                      \
    template <typename D, typename A, typename B>                                                   \
    void T##NAME(D &d, const A &a, const B &b, const Where &at = Where::current())                  \
    {                                                                                               \
        by_tiles(d, a, b, F{}, at);                                                                 \
    }                                                                                               \
    template <typename D, typename A>                                                               \
    void T##NAME##S(D &d, const A &a, typename D::DType s, const Where &at = Where::current())      \
    {                                                                                               \
        by_scalar(d, a, s, F{}, at);                                                                \
    }                                                                                               \
    template <typename D, typename A, typename B>                                                   \
    void TROWEXPAND##NAME(D &d, const A &a, const B &b, const Where &at = Where::current())         \
    {                                                                                               \
        by_rows(d, a, b, F{}, at);                                                                  \
    }                                                                                               \
    template <typename D, typename A, typename B>                                                   \
    void TCOLEXPAND##NAME(D &d, const A &a, const B &b, const Where &at = Where::current())         \
    {                                                                                               \
        by_cols(d, a, b, F{}, at);                                                                  \
    }

NATIVE_BINARY(ADD, Add)
NATIVE_BINARY(SUB, Sub)
NATIVE_BINARY(MUL, Mul)
NATIVE_BINARY(DIV, Div)
NATIVE_BINARY(MAX, Max)
NATIVE_BINARY(MIN, Min)
#undef NATIVE_BINARY

template <typename D, typename A, typename F>
void unary(const D &d, const A &a, F f, const Where &at)
{
    static_assert(is_float_type<typename D::DType>, "this function is of float or half");
    by_scalar(d, a, typename D::DType(0.0f), [f](auto x, auto) { return f(x); }, at);
}

#define NATIVE_UNARY(NAME, EXPR)                                           \
    template <typename D, typename A>                                      \
    void T##NAME(D &d, const A &a, const Where &at = Where::current())     \
    {                                                                      \
        unary(d, a, [](float x) { return EXPR; }, at);                     \
    }

NATIVE_UNARY(EXP, std::exp(x))
NATIVE_UNARY(LOG, std::log(x))
NATIVE_UNARY(SQRT, std::sqrt(x))
#undef NATIVE_UNARY

// What the device fills with a number before it reads the operand.
template <typename D, typename A>
void keeps_apart(const D &d, const A &a, const char *told, const Where &at)
{
    if (d.address < a.address + A::Bytes && a.address < d.address + D::Bytes) {
        native::report("address", told, at);
    }
}

// The device fills d with ones, then divides them by a.
template <typename D, typename A>
void TRECIP(D &d, const A &a, const Where &at = Where::current())
{
    keeps_apart(d, a, "a reciprocal is not taken in place", at);
    unary(d, a, [](float x) { return 1.0f / x; }, at);
}

// The library's CPU form takes tiles of one type only.
template <typename D>
void TABS(D &d, const D &a, const Where &at = Where::current())
{
    unary(d, a, [](float x) { return std::fabs(x); }, at);
}

template <typename D, typename A>
void TRELU(D &d, const A &a, const Where &at = Where::current())
{
    static_assert(!std::is_same_v<typename D::DType, int16_t>, "TRELU is of float, half or int32");
    by_scalar(d, a, static_cast<typename D::DType>(0.0f), Max{}, at);
}

// The device leaves anything in a scratch tile.
template <typename Tmp>
void spoil(const Tmp &tmp)
{
    std::memset(static_cast<void *>(tmp.data()), 0xFF, static_cast<size_t>(Tmp::Bytes));
    std::memset(tmp.marks(), 0, static_cast<size_t>(Tmp::Bytes));
}

// The form with a scratch tile: a square root, then a division.
template <typename D, typename A, typename Tmp>
void TRSQRT(D &d, const A &a, const Tmp &tmp, const Where &at = Where::current())
{
    using T = typename D::DType;
    check_vector<D>();
    check_vector<A>();
    static_assert(is_float_type<T> && std::is_same_v<T, typename A::DType> && std::is_same_v<T, typename Tmp::DType>,
                  "operands of one type, float or half");
    same_valid(d, a, at);
    run(
        Pipe::V, {a.extent()}, {tmp.extent(), d.extent()},
        [a, at] {
            auto found = elements(a, at);
            for (auto &x : found) {
                x = 1.0f / std::sqrt(x);
            }
            return found;
        },
        [d, tmp](const Values<T> &found) {
            spoil(tmp);
            put(d, d.valid_rows, d.valid_cols, found);
        },
        at);
}

// Which types one instruction of the device converts.
template <typename To, typename From>
constexpr bool converts()
{
    if constexpr (std::is_same_v<From, float>) {
        return !std::is_same_v<To, float> && sizeof(To) > 1;
    } else if constexpr (std::is_same_v<From, half>) {
        return std::is_same_v<To, float> || std::is_integral_v<To>;
    } else if constexpr (std::is_same_v<From, bfloat16_t>) {
        return std::is_same_v<To, float> || std::is_same_v<To, int32_t>;
    } else if constexpr (std::is_same_v<From, int32_t>) {
        return std::is_same_v<To, float> || std::is_same_v<To, int16_t>;
    } else if constexpr (std::is_same_v<From, int16_t>) {
        return is_float_type<To>;
    }
    return std::is_same_v<To, half>;
}

template <typename D, typename A>
void TCVT(D &d, const A &a, RoundMode mode, SaturationMode saturation, const Where &at = Where::current())
{
    static_assert(is_vec<D> && is_vec<A> && D::RowMajor && A::RowMajor, "conversions are on rows in UB");
    static_assert(converts<typename D::DType, typename A::DType>(), "no instruction converts these");
    using W = native::wide_t<typename A::DType>;
    same_valid(d, a, at);
    if (mode != RoundMode::CAST_RINT && !(is_float_type<typename A::DType> && std::is_integral_v<typename D::DType>)) {
        native::report("mode", "the library's CPU form rounds to the nearest, ties to even, all but float to integers", at);
    }
    if (std::is_integral_v<typename D::DType> && sizeof(typename D::DType) < 4 && saturation == SaturationMode::OFF) {
        native::report("mode", "the device cuts bits off unless it is told to saturate", at);
    }
    run(
        Pipe::V, {a.extent()}, {d.extent()},
        [a, mode, at] {
            auto found = elements(a, at);
            if constexpr (std::is_same_v<W, float>) {
                for (auto &x : found) {
                    x = mode == RoundMode::CAST_ROUND   ? std::round(x)
                        : mode == RoundMode::CAST_FLOOR ? std::floor(x)
                        : mode == RoundMode::CAST_CEIL  ? std::ceil(x)
                        : mode == RoundMode::CAST_TRUNC ? std::trunc(x)
                                                        : x;
                }
            }
            return found;
        },
        [d](const Values<typename A::DType> &found) { put(d, d.valid_rows, d.valid_cols, found); }, at);
}

template <typename D, typename A>
void TCVT(D &d, const A &a, RoundMode mode, const Where &at = Where::current())
{
    TCVT(d, a, mode, SaturationMode::OFF, at);
}

// Fills a tile: UB on V, L1 on MTE2.  bf16 is allowed here, as the device's header has it.
template <typename D>
void TEXPANDS(D &d, typename D::DType value, const Where &at = Where::current())
{
    using T = typename D::DType;
    constexpr bool in_l1 = D::Loc == TileType::Mat;
    static_assert(in_l1 || is_vec<D>, "UB and L1 can be filled");
    static_assert(in_l1 || D::RowMajor, "UB is filled by rows");
    static_assert(is_vector_type<T> || std::is_same_v<T, bfloat16_t> || sizeof(T) == 1, "no fill of this type");
    run(
        in_l1 ? Pipe::MTE2 : Pipe::V, {}, {d.extent()}, [value] { return value; },
        [d](T filled) {
            const auto count = static_cast<size_t>(d.valid_rows * d.valid_cols);
            put(d, d.valid_rows, d.valid_cols, std::vector<T>(count, filled));
            if (in_l1) {
                std::memset(d.marks(), FILLED, static_cast<size_t>(D::Bytes));
            }
        },
        at);
}

template <typename D, typename A, typename Tmp, typename F>
void reduce(const D &d, const A &a, const Tmp &tmp, F f, const Where &at)
{
    using T = typename A::DType;
    check_vector<A>();
    static_assert(D::Column || D::RowMajor, "a column, or rows of one value");
    static_assert(std::is_same_v<T, typename D::DType> && std::is_same_v<T, typename Tmp::DType>, "one type");
    if (d.valid_rows != a.valid_rows || d.valid_cols != 1) {
        native::report("shape", "a reduction gives one value per row", at);
        return;
    }
    run(
        Pipe::V, {a.extent()}, {tmp.extent(), d.extent()},
        [a, f, at] {
            const auto found = elements(a, at);
            Values<T> result;
            for (int64_t r = 0; r < a.valid_rows; ++r) {
                auto value = found[static_cast<size_t>(r * a.valid_cols)];
                for (int64_t c = 1; c < a.valid_cols; ++c) {
                    value = f(value, found[static_cast<size_t>(r * a.valid_cols + c)]);
                }
                result.push_back(value);
            }
            return result;
        },
        [d, tmp](const Values<T> &found) {
            spoil(tmp);
            put(d, d.valid_rows, 1, found);
        },
        at);
}

#define NATIVE_REDUCE(NAME, F)                                                                           \
    template <typename D, typename A, typename Tmp>                                                      \
    void NAME(D &d, const A &a, const Tmp &tmp, const Where &at = Where::current())                      \
    {                                                                                                    \
        reduce(d, a, tmp, F{}, at);                                                                      \
    }

NATIVE_REDUCE(TROWSUM, Add)
NATIVE_REDUCE(TROWMAX, Max)
NATIVE_REDUCE(TROWMIN, Min)
#undef NATIVE_REDUCE

// One value per column; ``rest``: what else is written, a scratch tile or nothing.
template <typename D, typename A, typename F, typename... Rest>
void reduce_columns(const D &d, const A &a, F f, const Where &at, const Rest &...rest)
{
    using T = typename A::DType;
    check_vector<A>();
    static_assert(A::RowMajor && D::RowMajor && std::is_same_v<T, typename D::DType>, "rows of one type");
    if (d.valid_rows != 1 || d.valid_cols != a.valid_cols) {
        native::report("shape", "a reduction of columns gives one row", at);
        return;
    }
    run(
        Pipe::V, {a.extent()}, {rest.extent()..., d.extent()},
        [a, f, at] {
            const auto found = elements(a, at);
            Values<T> result(found.begin(), found.begin() + a.valid_cols);
            for (int64_t k = a.valid_cols; k < a.valid_rows * a.valid_cols; ++k) {
                auto &value = result[static_cast<size_t>(k % a.valid_cols)];
                value = f(value, found[static_cast<size_t>(k)]);
            }
            return result;
        },
        [d, rest...](const Values<T> &found) {
            (spoil(rest), ...);
            put(d, 1, d.valid_cols, found);
        },
        at);
}

// ``by_halves``: pairs of rows, then pairs of sums, in the scratch tile.
template <typename D, typename A, typename Tmp>
void TCOLSUM(D &d, const A &a, const Tmp &tmp, bool by_halves, const Where &at = Where::current())
{
    static_assert(std::is_same_v<typename A::DType, float>, "the CPU form takes no integers and adds f16 in f16");
    static_assert(std::is_same_v<typename Tmp::DType, float> && Tmp::Rows * 2 >= A::Rows && Tmp::Cols >= A::Cols, "room for half of the rows");
    (void)by_halves;
    reduce_columns(d, a, Add{}, at, tmp);
}

#define NATIVE_REDUCE_COLUMNS(NAME, F)                                                                   \
    template <typename D, typename A>                                                                    \
    void NAME(D &d, const A &a, const Where &at = Where::current())                                      \
    {                                                                                                    \
        reduce_columns(d, a, F{}, at);                                                                   \
    }

NATIVE_REDUCE_COLUMNS(TCOLMAX, Max)
NATIVE_REDUCE_COLUMNS(TCOLMIN, Min)
#undef NATIVE_REDUCE_COLUMNS

// ------------------------------------------------------------------------------ choice

template <typename W>
bool compared(W a, W b, CmpMode mode)
{
    switch (mode) {
    case CmpMode::LT: return a < b;
    case CmpMode::LE: return a <= b;
    case CmpMode::GT: return a > b;
    case CmpMode::GE: return a >= b;
    case CmpMode::NE: return a != b;
    default: return a == b;
    }
}

// One bit for each element of ``a``, eight in a byte, into a tile of bytes.  Both are one row: the device begins
// every row of a tile at a block of its own, the CPU form of the library does not.
template <typename D, typename A, typename Second>
void compare(const D &d, const A &a, std::vector<Extent> reads, Second second, CmpMode mode, const Where &at)
{
    using T = typename A::DType;
    check_vector<A>();
    static_assert(is_vec<D> && std::is_same_v<typename D::DType, uint8_t>, "bits are in bytes in UB");
    static_assert(D::Rows == 1 && A::Rows == 1, "one row");
    if (std::is_integral_v<T> && mode != CmpMode::EQ && mode != CmpMode::NE) {
        native::report("mode", "the device compares integers for equality, whatever is asked", at);
    }
    if (d.valid_cols * 8 != a.valid_cols) {
        native::report("shape", "a bit for every element is needed", at);
        return;
    }
    reads.push_back(a.extent());
    run(
        Pipe::V, std::move(reads), {d.extent()},
        [a, second, mode, at] {
            const auto found = elements(a, at);
            const auto other = second();
            std::vector<uint8_t> bits(found.size() / 8);
            for (size_t k = 0; k < found.size(); ++k) {
                const bool holds = compared(found[k], other(int64_t{0}, static_cast<int64_t>(k)), mode);
                bits[k / 8] = static_cast<uint8_t>(bits[k / 8] | (holds ? 1u << k % 8 : 0u));
            }
            return bits;
        },
        [d](const std::vector<uint8_t> &bits) {
            std::memcpy(d.data(), bits.data(), bits.size());
            std::memset(d.marks(), 1, bits.size());
        },
        at);
}

template <typename D, typename A, typename B>
void TCMP(D &d, const A &a, const B &b, CmpMode mode, const Where &at = Where::current())
{
    using W = native::wide_t<typename B::DType>;
    check_vector<B>();
    static_assert(std::is_same_v<typename A::DType, typename B::DType>, "operands of one type");
    same_valid(a, b, at);
    compare(d, a, {b.extent()}, [b, at] { return Grid<W>{elements(b, at), 0, 1}; }, mode, at);
}

template <typename D, typename A>
void TCMPS(D &d, const A &a, typename A::DType s, CmpMode mode, const Where &at = Where::current())
{
    using W = native::wide_t<typename A::DType>;
    if (mode == CmpMode::EQ || mode == CmpMode::NE) {
        native::report("mode", "the library's CPU form takes what is near for equal", at);
    }
    const W value = static_cast<W>(s);
    compare(d, a, {}, [value] { return Grid<W>{{value}, 0, 0}; }, mode, at);
}

// The device writes where the bits are into ``tmp``, which may be the result, but then no operand.
template <typename D, typename M, typename Tmp>
void TSEL(D &d, const M &mask, const D &a, const D &b, const Tmp &tmp, const Where &at = Where::current())
{
    using T = typename D::DType;
    check_vector<D>();
    static_assert(std::is_same_v<typename M::DType, uint8_t>, "bits are in bytes");
    static_assert(D::Rows == 1 && M::Rows == 1, "one row");
    same_valid(d, a, at);
    same_valid(d, b, at);
    if (mask.valid_cols * 8 != d.valid_cols) {
        native::report("shape", "a bit for every element is needed", at);
        return;
    }
    for (const int64_t other : {a.address, b.address}) {
        if (tmp.address < other + D::Bytes && other < tmp.address + Tmp::Bytes) {
            native::report("address", "a choice does not write over what it chooses from", at);
        }
    }
    run(
        Pipe::V, {mask.extent(), a.extent(), b.extent()}, {tmp.extent(), d.extent()},
        [mask, a, b, at] {
            auto found = elements(a, at);
            const auto others = elements(b, at);
            for (size_t k = 0; k < found.size(); ++k) {
                if (mask.marks()[k / 8] == 0) {
                    native::report("uninitialised", "chooses by bits that were not written", at);
                    break;
                }
                if ((mask.data()[k / 8] >> k % 8 & 1) == 0) {
                    found[k] = others[k];
                }
            }
            return found;
        },
        [d](const Values<T> &found) { put(d, d.valid_rows, d.valid_cols, found); }, at);
}

// start, start + 1, ... along one row; the device's vector form, which takes a scratch tile of 640 floats.
template <typename D, typename Tmp, typename T, int Descending>
void TCI(D &d, T start, const Tmp &tmp, const Where &at = Where::current())
{
    static_assert(is_vec<D> && D::Rows == 1 && std::is_same_v<typename D::DType, T>, "one row of that type");
    static_assert(std::is_same_v<T, int32_t> && Descending == 0, "numbers of 32 bits that rise");
    static_assert(std::is_same_v<typename Tmp::DType, float> && Tmp::Bytes >= 2560, "room for 640 floats");
    run(
        Pipe::V, {}, {tmp.extent(), d.extent()}, [start] { return start; },
        [d, tmp](T first) {
            spoil(tmp);
            std::vector<T> all;
            for (int64_t c = 0; c < d.valid_cols; ++c) {
                all.push_back(static_cast<T>(first + c));
            }
            put(d, 1, d.valid_cols, all);
        },
        at);
}

// ------------------------------------------------------------------------------- order

// A value and its number, as two floats of a tile hold them.
struct Pair {
    float value;
    float number;
};

// What comes in front of what: the larger, and NaN behind all; what is neither stays as it is.
inline bool in_front(const Pair &a, const Pair &b)
{
    return a.value > b.value || (a.value == a.value && b.value != b.value);
}

inline std::vector<float> flat(const std::vector<Pair> &pairs, size_t count)
{
    std::vector<float> found;
    for (size_t k = 0; k < count; ++k) {
        found.push_back(pairs[k].value);
        found.push_back(pairs[k].number);
    }
    return found;
}

// Pairs of the values of a row and their numbers, those of every 32 in descending order.
template <typename D, typename A, typename N>
void TSORT32(D &d, const A &a, const N &numbers, const Where &at = Where::current())
{
    static_assert(is_vec<D> && is_vec<A> && is_vec<N> && D::RowMajor && A::RowMajor && N::RowMajor, "rows in UB");
    static_assert(std::is_same_v<typename A::DType, float> && std::is_same_v<typename D::DType, float>,
                  "values of float, in pairs of eight bytes");
    static_assert(std::is_same_v<typename N::DType, uint32_t>, "numbers are uint32");
    static_assert(A::Rows == 1 && N::Rows == 1 && D::Rows == 1, "one row");
    static_assert(A::Cols % 32 == 0 && A::Cols == N::Cols && D::Cols == 2 * A::Cols, "32 elements at once");
    run(
        Pipe::V, {a.extent(), numbers.extent()}, {d.extent()},
        [a, numbers, at] {
            const auto values = elements(a, at);
            const auto beside = elements(numbers, at);
            std::vector<Pair> pairs;
            for (size_t k = 0; k < values.size(); ++k) {
                pairs.push_back({values[k], std::bit_cast<float>(beside[k])});
            }
            for (auto first = pairs.begin(); first != pairs.end(); first += 32) {
                std::stable_sort(first, first + 32, in_front);
            }
            return flat(pairs, pairs.size());
        },
        [d](const std::vector<float> &found) { put(d, 1, D::Cols, found); }, at);
}

struct MrgSortExecutedNumList {
    uint16_t mrgSortList0, mrgSortList1, mrgSortList2, mrgSortList3;
};

// The first pairs of sorted lists in one order, as many as d holds; all of them by way of ``tmp``.
template <typename D, typename Tmp, typename... Lists>
void merge(const D &d, const Tmp &tmp, const Where &at, const Lists &...lists)
{
    static_assert((std::is_same_v<typename Lists::DType, float> && ... && std::is_same_v<typename D::DType, float>),
                  "pairs of eight bytes, of float");
    static_assert(((Lists::Rows == 1 && is_vec<Lists>)&&... && (D::Rows == 1 && is_vec<D>)), "one row in UB");
    static_assert(Tmp::Cols >= (0 + ... + Lists::Cols) && Tmp::Cols >= D::Cols, "room for all of them");
    for (const int64_t list : {lists.address...}) {
        for (const auto &[low, bytes] : {std::pair{d.address, D::Bytes}, std::pair{tmp.address, Tmp::Bytes}}) {
            if (low <= list && list < low + bytes) {
                native::report("address", "a merge does not write over its lists", at);
            }
        }
    }
    run(
        Pipe::V, {lists.extent()...}, {tmp.extent(), d.extent()},
        [lists..., at] {
            std::vector<Pair> pairs;
            for (const auto &list : {elements(lists, at)...}) {
                const auto first = static_cast<std::ptrdiff_t>(pairs.size());
                for (size_t k = 0; k < list.size(); k += 2) {
                    pairs.push_back({list[k], list[k + 1]});
                }
                if (!std::is_sorted(pairs.begin() + first, pairs.end(), in_front)) {
                    native::report("order", "merges a list that is not sorted", at);
                }
            }
            std::stable_sort(pairs.begin(), pairs.end(), in_front);
            return flat(pairs, static_cast<size_t>(D::Cols / 2));
        },
        [d, tmp](const std::vector<float> &found) {
            spoil(tmp);
            put(d, 1, D::Cols, found);
        },
        at);
}

template <typename D, typename Tmp, typename A, typename B, bool Exhausted>
void TMRGSORT(D &d, MrgSortExecutedNumList &, const Tmp &tmp, const A &a, const B &b, const Where &at = Where::current())
{
    static_assert(!Exhausted, "all of the lists are merged");
    merge(d, tmp, at, a, b);
}

template <typename D, typename Tmp, typename A, typename B, typename C, bool Exhausted>
void TMRGSORT(D &d, MrgSortExecutedNumList &, const Tmp &tmp, const A &a, const B &b, const C &c,
              const Where &at = Where::current())
{
    static_assert(!Exhausted, "all of the lists are merged");
    merge(d, tmp, at, a, b, c);
}

template <typename D, typename Tmp, typename A, typename B, typename C, typename E, bool Exhausted>
void TMRGSORT(D &d, MrgSortExecutedNumList &, const Tmp &tmp, const A &a, const B &b, const C &c, const E &e,
              const Where &at = Where::current())
{
    static_assert(!Exhausted, "all of the lists are merged");
    merge(d, tmp, at, a, b, c, e);
}

// Every first or every second element of a row, bit by bit.
template <typename D, typename A, MaskPattern Pattern>
void TGATHER(D &d, const A &a, const Where &at = Where::current())
{
    static_assert(is_vec<D> && is_vec<A> && D::RowMajor && A::RowMajor && D::Rows == 1 && A::Rows == 1, "one row in UB");
    static_assert(sizeof(typename D::DType) == 4 && sizeof(typename A::DType) == 4, "elements of four bytes");
    static_assert(A::Cols == 2 * D::Cols, "half of the elements");
    run(
        Pipe::V, {a.extent()}, {d.extent()},
        [a, at] {
            const auto all = elements(a, at);
            std::vector<typename D::DType> found;
            for (size_t k = Pattern == MaskPattern::P1010 ? 1 : 0; k < all.size(); k += 2) {
                found.push_back(std::bit_cast<typename D::DType>(all[k]));
            }
            return found;
        },
        [d](const std::vector<typename D::DType> &found) { put(d, 1, D::Cols, found); }, at);
}

// The elements of a row that ``places`` count; the scratch tile is of their type, and not written for four bytes.
template <typename D, typename A, typename P, typename Tmp>
void TGATHER(D &d, const A &a, const P &places, const Tmp &, const Where &at = Where::current())
{
    using T = typename D::DType;
    check_vector<D>();
    check_vector<A>();
    static_assert(std::is_same_v<T, typename A::DType> && sizeof(T) == 4, "elements of one type of four bytes");
    static_assert(std::is_same_v<typename P::DType, int32_t> && std::is_same_v<typename Tmp::DType, int32_t>, "int32 places");
    static_assert(D::Rows == 1 && A::Rows == 1 && P::Rows == 1 && D::Cols == P::Cols && Tmp::Cols == P::Cols, "one row");
    run(
        Pipe::V, {a.extent(), places.extent()}, {d.extent()},
        [a, places, at] {
            const auto from = elements(a, at);
            Values<T> found;
            for (const int32_t place : elements(places, at)) {
                if (place < 0 || place >= A::Cols) {
                    native::report("address", "takes an element behind its row", at);
                }
                found.push_back(from[static_cast<size_t>(std::clamp(place, 0, A::Cols - 1))]);
            }
            return found;
        },
        [d](const Values<T> &found) { put(d, 1, D::Cols, found); }, at);
}

// The transpose.  Where rows of either side are no whole boxes, the device goes by its scalar unit.
template <typename D, typename A, typename Tmp>
void TTRANS(D &d, const A &a, const Tmp &tmp, const Where &at = Where::current())
{
    using T = typename D::DType;
    check_vector<D>();
    check_vector<A>();
    static_assert(std::is_same_v<T, typename A::DType> && (sizeof(T) == 4 || sizeof(T) == 2), "elements of one type of two or four bytes");
    constexpr int64_t unit = 32 / sizeof(T);
    static_assert(D::Cols % 16 == 0 && A::Cols % unit == 0, "rows of whole boxes");
    constexpr int64_t high = (A::Cols + unit - 1) / unit * unit, wide = (A::Rows + 15) / 16 * 16;
    static_assert(Tmp::Bytes >= std::min<int64_t>(high, (D::Rows + unit - 1) / unit * unit) * std::min<int64_t>(wide, D::Cols) * sizeof(T), "room for whole boxes");
    if (d.valid_rows != a.valid_cols || d.valid_cols != a.valid_rows) {
        native::report("shape", "a transpose has the sizes of its operand, turned", at);
        return;
    }
    run(
        Pipe::V, {a.extent()}, {tmp.extent(), d.extent()},
        [a, at] {
            const auto all = elements(a, at);
            Values<T> found;
            for (int64_t c = 0; c < a.valid_cols; ++c) {
                for (int64_t r = 0; r < a.valid_rows; ++r) {
                    found.push_back(all[static_cast<size_t>(r * a.valid_cols + c)]);
                }
            }
            return found;
        },
        [d, tmp](const Values<T> &found) {
            spoil(tmp);
            put(d, d.valid_rows, d.valid_cols, found);
        },
        at);
}

template <typename D, typename A>
void TCOLEXPAND(D &d, const A &a, const Where &at = Where::current())
{
    using T = typename D::DType;
    check_vector<D>();
    check_vector<A>();
    static_assert(std::is_same_v<T, typename A::DType>, "operands of one type");
    if (a.valid_rows != 1 || a.valid_cols != d.valid_cols) {
        native::report("shape", "one value per column is needed", at);
        return;
    }
    run(
        Pipe::V, {a.extent()}, {d.extent()}, [a, at] { return elements(a, at); },
        [d](const Values<T> &row) {
            Values<T> all;
            for (int64_t r = 0; r < d.valid_rows; ++r) {
                all.insert(all.end(), row.begin(), row.end());
            }
            put(d, d.valid_rows, d.valid_cols, all);
        },
        at);
}

template <typename T, PadValue Pad>
constexpr T pad_number()
{
    constexpr auto code = static_cast<uint64_t>(Pad);
    constexpr auto custom = static_cast<uint64_t>(PadValue::Custom);
    constexpr float most = std::numeric_limits<float>::infinity();
    constexpr float number = code >= custom         ? std::bit_cast<float>(static_cast<uint32_t>(code - custom))
                             : Pad == PadValue::Min ? -most
                             : Pad == PadValue::Max ? most
                                                    : 0.0f;
    return static_cast<T>(number);
}

// The pad value of ``d`` outside the valid part of ``a``, which lies on the same bytes.
template <typename D, typename A>
void TFILLPAD_INPLACE(D &d, const A &a, const Where &at = Where::current())
{
    using T = typename D::DType;
    static_assert(D::Pad != PadValue::Null, "a fill needs a pad value");
    static_assert(D::Rows == A::Rows && D::Cols == A::Cols && std::is_same_v<T, typename A::DType>, "one shape");
    if (d.address != a.address || a.valid_rows < 1 || a.valid_cols < 1) {
        native::report("shape", "a fill in place keeps at least one element of the same bytes", at);
        return;
    }
    run(
        Pipe::V, {a.extent()}, {d.extent()}, [a, at] { return elements(a, at); },
        [d, a](const Values<T> &found) {
            const T pad = pad_number<T, D::Pad>();
            std::vector<native::wide_t<T>> all;
            for (int64_t r = 0; r < D::Rows; ++r) {
                for (int64_t c = 0; c < D::Cols; ++c) {
                    const bool kept = r < a.valid_rows && c < a.valid_cols;
                    all.push_back(kept ? found[static_cast<size_t>(r * a.valid_cols + c)]
                                       : static_cast<native::wide_t<T>>(pad));
                }
            }
            put(d, D::Rows, D::Cols, all);
        },
        at);
}

}  // namespace pto

#include "native/bits.hpp"
