// Submits flat_own_count, emitted by Tilewright from flat_own_count.ptoir; do not edit.
#include <stdint.h>

#include <initializer_list>

#include "pto_orchestration_api.h"

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
    return PTO2OrchestrationConfig{.expected_arg_count = 3};
}

__attribute__((visibility("default"))) void
aicpu_orchestration_entry(const ChipTaskArgs &orch_args)
{
    const ChipTensor &src = orch_args.tensor(0).ref();
    const ChipTensor &length = orch_args.tensor(1).ref();
    const ChipTensor &out = orch_args.tensor(2).ref();
    const int64_t rows = src.shapes[0];
    const int64_t m = length.shapes[0];

    if (!accepts(src, DataType::FLOAT32, {rows, 16},
                 "src: f32[rows, 16]") ||
        !accepts(length, DataType::INT32, {m},
                 "length: i32[m]") ||
        !accepts(out, DataType::FLOAT32, {m, 16, 16},
                 "out: f32[m, 16, 16]")) {
        return;
    }

    // A hardware block for each cluster of this run; those beyond the work items have nothing to do.
    const int32_t blocks = rt_available_cluster_count();
    if (!holds(blocks > 0, "the runtime has no cluster for a launch")) {
        return;
    }

    PTO2_SCOPE() {
        CoreTaskArgs task_args;
        task_args.add_input(src);
        task_args.add_input(length);
        task_args.add_output(out);
        task_args.add_scalar(rows);
        task_args.add_scalar(m);
        task_args.launch_spec.set_block_num(static_cast<int16_t>(blocks));

        MixedKernels task;
        task.aiv0_kernel_id = VECTOR_KERNEL;
        task.aiv1_kernel_id = VECTOR_KERNEL;
        rt_submit_task(task, task_args);
    }
}

}  // extern "C"
