// What a kernel asks the runtime: which block and lane it is.  The host machine knows.
#pragma once

#include <cstdint>

#include "native/machine.hpp"
#include "scalar.h"

inline int64_t get_block_idx(const int64_t *) { return native::block_index(); }
inline int64_t get_block_num(const int64_t *) { return native::block_count(); }
inline int64_t get_sub_block_id(const int64_t *) { return native::core() - 1; }
