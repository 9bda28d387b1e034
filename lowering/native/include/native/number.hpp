// 16-bit floats as classes: conversions round to the nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace native {

// The float nearest to a sign, an exponent of 2 and a significand is what the hardware gives.
struct bfloat16_t {
    uint16_t bits = 0xFFFF;

    constexpr bfloat16_t() = default;
    constexpr explicit bfloat16_t(float x)
    {
        const uint32_t wide = std::bit_cast<uint32_t>(x);
        const bool nan = (wide & 0x7FFFFFFFu) > 0x7F800000u;
        const uint32_t rounded = wide + 0x7FFFu + ((wide >> 16) & 1u);
        bits = static_cast<uint16_t>(nan ? (wide >> 16) | 0x40u : rounded >> 16);
    }
    constexpr explicit operator float() const
    {
        return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
    }
};

struct half {
    uint16_t bits = 0xFFFF;

    constexpr half() = default;
    constexpr explicit half(float x) : bits(narrowed(std::bit_cast<uint32_t>(x))) {}
    constexpr explicit operator float() const { return widened(bits); }

private:
    static constexpr uint16_t narrowed(uint32_t wide)
    {
        const uint32_t sign = (wide >> 16) & 0x8000u;
        const uint32_t size = wide & 0x7FFFFFFFu;
        if (size > 0x7F800000u) {
            return static_cast<uint16_t>(sign | 0x7E00u);
        }
        if (size >= 0x47800000u) {  // 2^16 and more
            return static_cast<uint16_t>(sign | 0x7C00u);
        }
        if (size < 0x33000000u) {  // less than half of the least subnormal
            return static_cast<uint16_t>(sign);
        }
        const int exponent = static_cast<int>(size >> 23);
        const uint32_t significand = (size & 0x7FFFFFu) | 0x800000u;
        const int dropped = exponent < 113 ? 126 - exponent : 13;  // subnormal: fewer bits stay
        const uint32_t kept = significand >> dropped;
        const uint32_t rest = significand & ((1u << dropped) - 1u);
        const uint32_t tie = 1u << (dropped - 1);
        const uint32_t up = rest > tie || (rest == tie && (kept & 1u)) ? 1u : 0u;
        const uint32_t base = exponent < 113 ? kept : kept - 0x400u + ((exponent - 112u) << 10);
        return static_cast<uint16_t>(sign | (base + up));  // a carry moves into the exponent
    }
    static constexpr float widened(uint16_t narrow)
    {
        const uint32_t sign = (narrow & 0x8000u) << 16;
        const uint32_t exponent = (narrow >> 10) & 0x1Fu;
        const uint32_t significand = narrow & 0x3FFu;
        if (exponent == 0x1Fu) {
            return std::bit_cast<float>(sign | 0x7F800000u | (significand << 13));
        }
        if (exponent != 0) {
            return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (significand << 13));
        }
        const float size = static_cast<float>(significand) * 0x1p-24f;
        return (narrow & 0x8000u) != 0 ? -size : size;
    }
};

// The type that arithmetic on T is done in.
template <typename T>
struct Wide {
    using type = float;
};
template <>
struct Wide<int32_t> {
    using type = int32_t;
};
template <>
struct Wide<uint32_t> {
    using type = uint32_t;
};
template <>
struct Wide<uint64_t> {
    using type = uint64_t;
};
template <>
struct Wide<int16_t> {
    using type = int32_t;
};
template <>
struct Wide<int8_t> {
    using type = int32_t;
};
template <>
struct Wide<uint8_t> {
    using type = int32_t;
};
template <typename T>
using wide_t = typename Wide<T>::type;

}  // namespace native
