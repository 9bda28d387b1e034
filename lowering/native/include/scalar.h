// A scalar argument travels as 64 bits, of which a float takes the lower 32 (docs/machine.md 13).
#pragma once

#include <bit>
#include <cstdint>

template <typename T>
T from_u64(uint64_t bits)
{
    static_assert(sizeof(T) == 4, "scalars travel as 32 bits");
    return std::bit_cast<T>(static_cast<uint32_t>(bits));
}
