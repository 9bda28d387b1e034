// The few names of the runtime that an emitted orchestration uses, with what a test wants to see of them.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "tensor.h"

enum class DataType : uint8_t { FLOAT32, FLOAT16, BFLOAT16, INT32, INT16, INT8, UINT8 };
inline bool operator==(uint8_t held, DataType wanted) { return held == static_cast<uint8_t>(wanted); }

struct TensorArg {
    const ChipTensor *tensor;
    const ChipTensor &ref() const { return *tensor; }
};

struct ChipTaskArgs {
    const ChipTensor *tensors;
    const uint64_t *scalars;
    TensorArg tensor(int k) const { return {tensors + k}; }
    uint64_t scalar(int k) const { return scalars[k]; }
};

struct PTO2OrchestrationConfig {
    int expected_arg_count;
};

struct TensorCreateInfo {
    TensorCreateInfo(const uint32_t shape[], uint32_t ndims, DataType)
    {
        std::printf("workspace");
        for (uint32_t k = 0; k < ndims; ++k) {
            std::printf(" %u", shape[k]);
        }
        std::puts("");
    }
};

// The clusters of this run; a test says how many.
inline int32_t clusters = 24;
static inline int32_t rt_available_cluster_count() { return clusters; }

struct CoreTaskArgs {
    struct {
        void set_block_num(int16_t n) { std::printf("blocks %d\n", n); }
    } launch_spec;
    void add_input(const ChipTensor &) {}
    void add_inout(const ChipTensor &) {}
    void add_output(const ChipTensor &) {}
    void add_output(const TensorCreateInfo &) {}
    void add_scalar(uint64_t scalar) { std::printf("scalar %llu\n", static_cast<unsigned long long>(scalar)); }
};

struct MixedKernels {
    int32_t aic_kernel_id = -1, aiv0_kernel_id = -1, aiv1_kernel_id = -1;
};

struct PTO2ScopeGuard {
    bool open = true;
    ~PTO2ScopeGuard() { std::puts("end of scope"); }
};
#define PTO2_SCOPE() if (PTO2ScopeGuard _pto2_scope_guard; _pto2_scope_guard.open)

inline void rt_submit_task(const MixedKernels &task, const CoreTaskArgs &)
{
    std::printf("submitted %d %d %d\n", task.aic_kernel_id, task.aiv0_kernel_id, task.aiv1_kernel_id);
}

#define PTO2_ERROR_INVALID_ARGS 5
#define rt_report_fatal(code, format, ...) std::printf("fatal %d: " format "\n", code, ##__VA_ARGS__)
