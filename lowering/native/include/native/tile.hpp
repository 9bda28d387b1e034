// Tiles and GM tensors: where their elements are, and what the device demands of them.
#pragma once

#include <array>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "native/machine.hpp"
#include "native/number.hpp"

namespace pto {

using native::bfloat16_t;
using native::half;
using native::Where;

constexpr int DYNAMIC = -1;

#define NATIVE_TYPE(NAME, TYPE, ...) TYPE,
enum class TileType { NATIVE_SPACES(NATIVE_TYPE) };  // in the order of the memories that they are in
#undef NATIVE_TYPE
enum class BLayout { RowMajor, ColMajor };
enum class SLayout { NoneBox, RowMajor, ColMajor };
enum class Layout { ND, DN };
enum class RoundMode { CAST_RINT, CAST_ROUND, CAST_FLOOR, CAST_CEIL, CAST_TRUNC };
enum class SaturationMode { OFF, ON };
enum class CmpMode { EQ, NE, LT, GT, GE, LE };
enum class MaskPattern : uint8_t { P0101 = 1, P1010 };  // the first, the second of every two
enum class PadValue : uint64_t { Null, Zero, Max, Min, Custom = uint64_t{1} << 32 };

// The pad value that is a number of its own.
template <typename T>
constexpr PadValue PadValueCustom(T value)
{
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
    return static_cast<PadValue>(static_cast<uint64_t>(PadValue::Custom) | bits);
}

template <int64_t... N>
struct Extents {
    static_assert(sizeof...(N) == 5, "a shape or stride has five entries");
    std::array<int64_t, 5> values{N...};

    // The dynamic ones, in order.
    template <typename... Given>
    constexpr Extents(Given... given)
    {
        static_assert(sizeof...(Given) == (0 + ... + (N == DYNAMIC ? 1 : 0)),
                      "one number for each dynamic entry");
        const std::array<int64_t, sizeof...(Given) + 1> numbers{static_cast<int64_t>(given)..., 0};
        size_t next = 0;
        for (auto &v : values) {
            v = v == DYNAMIC ? numbers[next++] : v;
        }
    }
};

template <int64_t... N>
struct Shape : Extents<N...> {
    using Extents<N...>::Extents;
};
template <int64_t... N>
struct Stride : Extents<N...> {
    using Extents<N...>::Extents;
};

template <typename T, typename Shape_, typename Stride_, Layout layout_ = Layout::ND>
struct GlobalTensor {
    using DType = T;
    static constexpr Layout layout = layout_;
    T *first;
    Shape_ shape;
    Stride_ stride;

    GlobalTensor(T *first_, Shape_ shape_ = {}, Stride_ stride_ = {})
        : first(first_), shape(shape_), stride(stride_)
    {
    }
    // ND: the leading dimensions fold into the rows; all that is emitted has the first two at 1.
    int64_t rows() const { return shape.values[0] * shape.values[1] * shape.values[2] * shape.values[3]; }
    int64_t cols() const { return shape.values[4]; }
    T *at(int64_t r, int64_t c) const
    {
        const int64_t page = shape.values[2] == 1 ? 0 : r / shape.values[3];
        return first + page * stride.values[2] + (r - page * shape.values[3]) * stride.values[3] + c * stride.values[4];
    }
};

template <TileType Loc_, typename T, int Rows_, int Cols_, BLayout B = BLayout::RowMajor, int VR = Rows_,
          int VC = Cols_, SLayout S = SLayout::NoneBox, int Fractal = 512, PadValue Pad_ = PadValue::Null>
struct Tile {
    using DType = T;
    static constexpr TileType Loc = Loc_;
    static constexpr int Rows = Rows_, Cols = Cols_;
    static constexpr int64_t Bytes = int64_t{Rows_} * Cols_ * static_cast<int64_t>(sizeof(T));
    static constexpr bool Boxed = S != SLayout::NoneBox;
    static constexpr bool RowMajor = B == BLayout::RowMajor && !Boxed;
    static constexpr bool Column = B == BLayout::ColMajor && !Boxed && Cols_ == 1;
    static constexpr PadValue Pad = Pad_;
    static constexpr native::Space space = static_cast<native::Space>(Loc_);
    static constexpr int Wide = Fractal == 1024 ? 16 : 32 / static_cast<int>(sizeof(T));
    static constexpr int BoxRows = S == SLayout::ColMajor ? Wide : 16;
    static constexpr int BoxCols = S == SLayout::ColMajor ? 16 : Wide;

    // docs/machine.md 12, device rules.
    static_assert(VR <= Rows_ && VC <= Cols_, "more valid elements than the tile has");
    static_assert(Boxed || B == BLayout::ColMajor || Cols_ * sizeof(T) % 32 == 0, "rows are multiples of 32 bytes");
    static_assert(Boxed || B == BLayout::RowMajor || Rows_ * sizeof(T) % 32 == 0, "columns are multiples of 32 bytes");
    static_assert(!Boxed || (Rows_ % BoxRows == 0 && Cols_ % BoxCols == 0), "whole boxes");

    int64_t address = -1;
    int64_t valid_rows = VR, valid_cols = VC;

    Tile() { static_assert(VR != DYNAMIC && VC != DYNAMIC, "a dynamic size is given to the constructor"); }
    explicit Tile(int64_t valid, const Where &at = Where::current())
        : valid_rows(VR == DYNAMIC ? valid : VR), valid_cols(VC == DYNAMIC ? valid : VC)
    {
        static_assert((VR == DYNAMIC) != (VC == DYNAMIC), "one dynamic size, one number");
        check(at);
    }
    Tile(int64_t rows, int64_t cols, const Where &at = Where::current()) : valid_rows(rows), valid_cols(cols)
    {
        static_assert(VR == DYNAMIC && VC == DYNAMIC, "two dynamic sizes, two numbers");
        check(at);
    }

    void check(const Where &at) const
    {
        if (valid_rows < 0 || valid_rows > Rows || valid_cols < 0 || valid_cols > Cols) {
            native::report("shape", "the valid size of a tile is not inside it", at);
        }
    }

    // Where element (r, c) is, counted in elements from the start of the tile.
    static constexpr int64_t index(int64_t r, int64_t c)
    {
        if constexpr (!Boxed) {
            return B == BLayout::RowMajor ? r * Cols + c : c * Rows + r;
        } else {
            const int64_t box = B == BLayout::RowMajor ? r / BoxRows * (Cols / BoxCols) + c / BoxCols
                                                       : c / BoxCols * (Rows / BoxRows) + r / BoxRows;
            const int64_t y = r % BoxRows, x = c % BoxCols;
            return box * BoxRows * BoxCols + (S == SLayout::RowMajor ? y * BoxCols + x : x * BoxRows + y);
        }
    }

    // What the scalar unit reads, counted as ``index`` does.
    T GetValue(int64_t n, const Where &at = Where::current()) const
    {
        static_assert(Loc == TileType::Vec, "the scalar unit reads UB");
        native::scalar_reads(at);
        if (marks()[n * static_cast<int64_t>(sizeof(T))] == 0) {
            native::report("uninitialised", "reads a tile that was not written, or not all of it", at);
        }
        return data()[n];
    }

    native::Extent extent() const
    {
        return {space, static_cast<uint64_t>(address), static_cast<uint64_t>(address + Bytes)};
    }

    // Elements of the running core's memory.
    T *data() const { return reinterpret_cast<T *>(native::memory(space) + address); }
    uint8_t *marks() const { return native::written(space) + address; }
};

template <typename T, int R, int C, int VR = R, int VC = C>
using TileLeft = Tile<TileType::Left, T, R, C, BLayout::RowMajor, VR, VC, SLayout::RowMajor, 512>;
template <typename T, int R, int C, int VR = R, int VC = C>
using TileRight = Tile<TileType::Right, T, R, C, BLayout::RowMajor, VR, VC, SLayout::ColMajor, 512>;
template <typename T, int R, int C, int VR = R, int VC = C>
using TileAcc = Tile<TileType::Acc, T, R, C, BLayout::ColMajor, VR, VC, SLayout::RowMajor, 1024>;

template <typename Tile_>
void TASSIGN(Tile_ &tile, int64_t address, const Where &at = Where::current())
{
    const auto [capacity, alignment] = native::room(Tile_::space);
    if (address < 0 || address + Tile_::Bytes > capacity || address % alignment != 0) {
        char text[100];
        std::snprintf(text, sizeof(text), "a tile at bytes %lld .. %lld of %lld", static_cast<long long>(address),
                      static_cast<long long>(address + Tile_::Bytes), static_cast<long long>(capacity));
        native::report("address", text, at);
        address = 0;
    }
    tile.address = address;
}

template <typename Dst, typename Src>
void TRESHAPE(Dst &dst, const Src &src)
{
    static_assert(Dst::Loc == Src::Loc, "an alias stays in its memory");
    static_assert(Dst::Bytes == Src::Bytes, "an alias has as many bytes");
    static_assert(Dst::Boxed == Src::Boxed, "an alias is boxed like what it stands for");
    dst.address = src.address;
}

}  // namespace pto
