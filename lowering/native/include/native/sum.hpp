// Sums of floats that have the same bits in whatever order their terms come (lowering/execute/sums.py says why).
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace native {

// The exact sum, as digits of 32 bits; what is added to one is never carried to the next, so no order shows.
class Sum {
    static constexpr int SIGNIFICAND = 24, BITS = 32;
    static constexpr int LEAST = -149 - SIGNIFICAND;  // the exponent of digit 0: below every bit of a float
    std::array<int64_t, 10> digits{};
    float beyond = 0.0f;  // of infinities and NaN
    bool finite = true;

public:
    void add(float x)
    {
        if (!std::isfinite(x)) {
            beyond += x;
            finite = false;
            return;
        }
        int exponent = 0;
        const auto significand = static_cast<int64_t>(std::ldexp(std::frexp(x, &exponent), SIGNIFICAND));
        const int place = exponent - SIGNIFICAND - LEAST;
        const int64_t shifted = significand * (int64_t{1} << (place % BITS));
        const auto digit = static_cast<size_t>(place / BITS);
        digits[digit] += shifted & 0xFFFFFFFF;
        digits[digit + 1] += shifted >> BITS;
    }

    // Rounded once.
    float value() const
    {
        if (!finite) {
            return std::isnan(beyond) ? std::numeric_limits<float>::quiet_NaN() : beyond;
        }
        double total = 0.0;
        for (size_t k = digits.size(); k-- > 0;) {
            total += std::ldexp(static_cast<double>(digits[k]), static_cast<int>(k) * BITS + LEAST);
        }
        return static_cast<float>(total);
    }
};

}  // namespace native
