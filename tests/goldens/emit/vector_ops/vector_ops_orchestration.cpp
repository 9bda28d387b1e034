// Submits vector_ops, emitted by Tilewright from vector_ops.ptoir; do not edit.
#include <stdint.h>

#include "pto_orchestration_api.h"

constexpr int32_t VECTOR_KERNEL = 1;  // built with -D__DAV_VEC__
constexpr uint32_t BLOCK_NUM = 24;

extern "C" {

__attribute__((visibility("default"))) PTO2OrchestrationConfig
aicpu_orchestration_config(const ChipTaskArgs &orch_args)
{
    (void)orch_args;
    return PTO2OrchestrationConfig{.expected_arg_count = 9};
}

__attribute__((visibility("default"))) void
aicpu_orchestration_entry(const ChipTaskArgs &orch_args)
{
    const ChipTensor &x = orch_args.tensor(0).ref();
    const ChipTensor &h = orch_args.tensor(1).ref();
    const ChipTensor &bias = orch_args.tensor(2).ref();
    const ChipTensor &column = orch_args.tensor(3).ref();
    const ChipTensor &out = orch_args.tensor(4).ref();
    const ChipTensor &sums = orch_args.tensor(5).ref();
    const ChipTensor &narrow = orch_args.tensor(6).ref();
    const ChipTensor &last = orch_args.tensor(7).ref();
    const int64_t rows = x.shapes[0];
    const int64_t width = bias.shapes[0];

    PTO2_SCOPE() {
        CoreTaskArgs task_args;
        task_args.add_input(x);
        task_args.add_input(h);
        task_args.add_input(bias);
        task_args.add_input(column);
        task_args.add_output(out);
        task_args.add_output(sums);
        task_args.add_output(narrow);
        task_args.add_inout(last);
        task_args.add_scalar(orch_args.scalar(0));  // factor
        task_args.add_scalar(rows);
        task_args.add_scalar(width);
        task_args.launch_spec.set_block_num(BLOCK_NUM);

        MixedKernels task;
        task.aiv0_kernel_id = VECTOR_KERNEL;
        task.aiv1_kernel_id = VECTOR_KERNEL;
        rt_submit_task(task, task_args);
    }
}

}  // extern "C"
