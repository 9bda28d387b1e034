// Submits cube_ops, emitted by Tilewright from cube_ops.ptoir; do not edit.
#include <stdint.h>

#include <initializer_list>

#include "pto_orchestration_api.h"

constexpr int32_t CUBE_KERNEL = 0;  // built with -D__DAV_CUBE__
constexpr int32_t VECTOR_KERNEL = 1;  // built with -D__DAV_VEC__

// Whether a tensor is what the kernel takes: of this type and these sizes, its elements side by side.
static bool accepts(const ChipTensor &tensor, DataType dtype, std::initializer_list<int64_t> sizes,
                    const char *what)
{
    bool good = tensor.dtype == dtype && tensor.ndims == sizes.size();
    int64_t step = 1;
    for (size_t k = sizes.size(); good && k-- > 0;) {
        const int64_t size = sizes.begin()[k];
        good = tensor.shapes[k] == size && (size == 1 || tensor.strides[k] == step);
        step *= size;
    }
    if (!good) {
        rt_report_fatal(PTO2_ERROR_INVALID_ARGS, "not a contiguous tensor %s", what);
    }
    return good;
}

// Whether what a launch needs is so.
static bool holds(bool condition, const char *what)
{
    if (!condition) {
        rt_report_fatal(PTO2_ERROR_INVALID_ARGS, "%s", what);
    }
    return condition;
}

extern "C" {

__attribute__((visibility("default"))) PTO2OrchestrationConfig
aicpu_orchestration_config(const ChipTaskArgs &orch_args)
{
    (void)orch_args;
    return PTO2OrchestrationConfig{.expected_arg_count = 5};
}

__attribute__((visibility("default"))) void
aicpu_orchestration_entry(const ChipTaskArgs &orch_args)
{
    const ChipTensor &a = orch_args.tensor(0).ref();
    const ChipTensor &b = orch_args.tensor(1).ref();
    const ChipTensor &which = orch_args.tensor(2).ref();
    const ChipTensor &out = orch_args.tensor(3).ref();
    const ChipTensor &total = orch_args.tensor(4).ref();
    const int64_t m = a.shapes[0];
    const int64_t k = a.shapes[1];
    const int64_t n = b.shapes[0];
    const int64_t tiles = which.shapes[0];

    if (!accepts(a, DataType::FLOAT16, {m, k},
                 "a: f16[m, k]") ||
        !accepts(b, DataType::FLOAT16, {n, k},
                 "b: f16[n, k]") ||
        !accepts(which, DataType::INT32, {tiles},
                 "which: i32[tiles]") ||
        !accepts(out, DataType::BFLOAT16, {m, n},
                 "out: bf16[m, n]") ||
        !accepts(total, DataType::FLOAT32, {tiles, 32, 16},
                 "total: f32[tiles, 32, 16]")) {
        return;
    }

    // A hardware block for each cluster of this run; those beyond the work items have nothing to do.
    const int32_t blocks = rt_available_cluster_count();
    if (!holds(blocks > 0, "the runtime has no cluster for a launch")) {
        return;
    }

    // One ring of FIFO slots per hardware block.
    const uint32_t made_shape[4] = {static_cast<uint32_t>(blocks), 2, 32, 16};
    TensorCreateInfo made_ring(made_shape, 4, DataType::FLOAT32);

    PTO2_SCOPE() {
        CoreTaskArgs task_args;
        task_args.add_input(a);
        task_args.add_input(b);
        task_args.add_input(which);
        task_args.add_output(out);
        task_args.add_output(total);
        task_args.add_output(made_ring);
        task_args.add_scalar(m);
        task_args.add_scalar(k);
        task_args.add_scalar(n);
        task_args.add_scalar(tiles);
        task_args.launch_spec.set_block_num(static_cast<int16_t>(blocks));

        MixedKernels task;
        task.aic_kernel_id = CUBE_KERNEL;
        task.aiv0_kernel_id = VECTOR_KERNEL;
        task.aiv1_kernel_id = VECTOR_KERNEL;
        rt_submit_task(task, task_args);
    }
}

}  // extern "C"
