// What kernels print of themselves: text of the scalar unit, and tiles (docs/machine.md 12).
#pragma once

#include "native/ops.hpp"

namespace cce {

// A line of text, with what the tile library itself gives to it: numbers.
template <typename... Args>
int printf(const char *form, Args... args)
{
    static_assert((... && std::is_arithmetic_v<Args>), "numbers are printed");
    return native::say(form, args...);
}

}  // namespace cce

namespace pto {

// All pipes stop, and the scalar unit reads the tile; it belongs to the line in front.
template <typename Tile_>
void TPRINT(const Tile_ &tile, const Where &at = Where::current())
{
    using T = typename Tile_::DType;
    static_assert(is_vec<Tile_>, "only tiles in UB are printed without a place in GM");
    static_assert(!std::is_same_v<T, bfloat16_t>, "the device prints no bfloat16");
    native::barrier(Pipe::ALL, at);
    const auto found = elements(tile, at);
    for (int64_t r = 0, k = 0; r < tile.valid_rows; ++r) {
        for (int64_t c = 0; c < tile.valid_cols; ++c, ++k) {
            const char *const apart = c == 0 ? "" : " ";
            const auto value = found[static_cast<size_t>(k)];
            if constexpr (std::is_integral_v<T>) {
                native::say_more("%s%8d", apart, static_cast<int>(value));
            } else {
                native::say_more("%s%8.4f", apart, static_cast<double>(value));
            }
        }
        native::say_more("\n");
    }
}

}  // namespace pto
