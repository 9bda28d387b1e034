// What a kernel asks the runtime: which block and lane it is.  The host machine knows.
#pragma once

#include <bit>
#include <cstdint>

#include "native/machine.hpp"

inline int64_t get_block_idx(const int64_t *) { return native::block_index(); }
inline int64_t get_block_num(const int64_t *) { return native::block_count(); }
inline int64_t get_sub_block_id(const int64_t *) { return native::core() - 1; }

template <typename T>
T from_u64(uint64_t bits)
{
    static_assert(sizeof(T) == 4, "scalars travel as 32 bits");
    return std::bit_cast<T>(static_cast<uint32_t>(bits));
}
