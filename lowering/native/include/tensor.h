// A tensor as the runtime hands it to a kernel (docs/machine.md 13): 128 bytes, aligned to 64.
#pragma once

#include <cstdint>

struct alignas(64) ChipTensor {
    struct {
        uint64_t addr;
        uint64_t size;
    } buffer;
    uint64_t owner;
    uint64_t start_offset;  // elements
    int32_t version;
    uint32_t ndims;
    uint8_t dtype;
    uint8_t flags[3];
    uint32_t shapes[5];
    uint64_t extent;
    uint32_t strides[5];
    uint8_t padding[36];
};
static_assert(sizeof(ChipTensor) == 128, "what kernels and the runtime agree on");
