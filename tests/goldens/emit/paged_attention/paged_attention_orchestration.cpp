// Submits paged_attention, emitted by Tilewright from paged_attention.ptoir; do not edit.
#include <stdint.h>

#include <initializer_list>

#include "pto_orchestration_api.h"

constexpr int32_t CUBE_KERNEL = 0;  // built with -D__DAV_CUBE__
constexpr int32_t VECTOR_KERNEL = 1;  // built with -D__DAV_VEC__
constexpr uint32_t BLOCK_NUM = 24;

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

extern "C" {

__attribute__((visibility("default"))) PTO2OrchestrationConfig
aicpu_orchestration_config(const ChipTaskArgs &orch_args)
{
    (void)orch_args;
    return PTO2OrchestrationConfig{.expected_arg_count = 7};
}

__attribute__((visibility("default"))) void
aicpu_orchestration_entry(const ChipTaskArgs &orch_args)
{
    const ChipTensor &query = orch_args.tensor(0).ref();
    const ChipTensor &key_cache = orch_args.tensor(1).ref();
    const ChipTensor &value_cache = orch_args.tensor(2).ref();
    const ChipTensor &block_table = orch_args.tensor(3).ref();
    const ChipTensor &context_lens = orch_args.tensor(4).ref();
    const ChipTensor &out = orch_args.tensor(5).ref();
    const int64_t batch = query.shapes[0];
    const int64_t pages = key_cache.shapes[0];
    const int64_t width = block_table.shapes[1];

    if (!accepts(query, DataType::BFLOAT16, {batch, 16, 128},
                 "query: bf16[batch, 16, 128]") ||
        !accepts(key_cache, DataType::BFLOAT16, {pages, 128, 1, 128},
                 "key_cache: bf16[pages, 128, 1, 128]") ||
        !accepts(value_cache, DataType::BFLOAT16, {pages, 128, 1, 128},
                 "value_cache: bf16[pages, 128, 1, 128]") ||
        !accepts(block_table, DataType::INT32, {batch, width},
                 "block_table: i32[batch, width]") ||
        !accepts(context_lens, DataType::INT32, {batch},
                 "context_lens: i32[batch]") ||
        !accepts(out, DataType::FLOAT32, {batch, 16, 128},
                 "out: f32[batch, 16, 128]")) {
        return;
    }

    // One ring of FIFO slots per hardware block.
    const uint32_t sij_shape[4] = {BLOCK_NUM, 2, 16, 128};
    TensorCreateInfo sij_ring(sij_shape, 4, DataType::FLOAT32);
    const uint32_t pij_shape[4] = {BLOCK_NUM, 2, 16, 128};
    TensorCreateInfo pij_ring(pij_shape, 4, DataType::BFLOAT16);
    const uint32_t oi_shape[4] = {BLOCK_NUM, 2, 16, 128};
    TensorCreateInfo oi_ring(oi_shape, 4, DataType::FLOAT32);

    PTO2_SCOPE() {
        CoreTaskArgs task_args;
        task_args.add_input(query);
        task_args.add_input(key_cache);
        task_args.add_input(value_cache);
        task_args.add_input(block_table);
        task_args.add_input(context_lens);
        task_args.add_output(out);
        task_args.add_output(sij_ring);
        task_args.add_output(pij_ring);
        task_args.add_output(oi_ring);
        task_args.add_scalar(orch_args.scalar(0));  // scale
        task_args.add_scalar(batch);
        task_args.add_scalar(pages);
        task_args.add_scalar(width);
        task_args.launch_spec.set_block_num(BLOCK_NUM);

        MixedKernels task;
        task.aic_kernel_id = CUBE_KERNEL;
        task.aiv0_kernel_id = VECTOR_KERNEL;
        task.aiv1_kernel_id = VECTOR_KERNEL;
        rt_submit_task(task, task_args);
    }
}

}  // extern "C"
