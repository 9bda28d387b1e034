// What a kernel asks the runtime, for builds against a checkout of the tile library.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../include/scalar.h"

namespace isa {

// Which part of a launch a thread is; the argument behind the kernel's own points to it.
struct Launch {
    int64_t block, blocks, lane;
};
constexpr int LAUNCH = 48;

inline const Launch &launch(const int64_t *args) { return *reinterpret_cast<const Launch *>(args[LAUNCH]); }

}  // namespace isa

#ifdef ISA_NEEDS_BF16
static_assert(!std::is_same_v<bfloat16_t, half>, "the library reads bf16 as fp16 with this compiler");
#endif

inline int64_t get_block_idx(const int64_t *args) { return isa::launch(args).block; }
inline int64_t get_block_num(const int64_t *args) { return isa::launch(args).blocks; }
inline int64_t get_sub_block_id(const int64_t *args) { return isa::launch(args).lane; }
