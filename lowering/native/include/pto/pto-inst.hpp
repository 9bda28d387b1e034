// The part of the tile library that emitted kernels call, for the asynchronous host machine.
#pragma once

#include "native/debug.hpp"
#include "native/fifo.hpp"
#include "native/ops.hpp"
#include "native/tile.hpp"

namespace pto {

#define NATIVE_PIPE(NAME) constexpr native::Pipe PIPE_##NAME = native::Pipe::NAME;
NATIVE_PIPES(NATIVE_PIPE)
NATIVE_PIPE(ALL)
#undef NATIVE_PIPE

enum event_t {
    EVENT_ID0,
    EVENT_ID1,
    EVENT_ID2,
    EVENT_ID3,
    EVENT_ID4,
    EVENT_ID5,
    EVENT_ID6,
    EVENT_ID7,
};

inline void set_flag(native::Pipe src, native::Pipe dst, event_t id, const Where &at = Where::current())
{
    native::set_flag(src, dst, id, at);
}
inline void wait_flag(native::Pipe src, native::Pipe dst, event_t id, const Where &at = Where::current())
{
    native::wait_flag(src, dst, id, at);
}
inline void pipe_barrier(native::Pipe pipe, const Where &at = Where::current())
{
    native::barrier(pipe, at);
}

// For what the scalar unit wrote to memory, and it writes nothing here (docs/machine.md 5.6).
enum mem_dsb_t { DSB_DDR };
inline void dsb(mem_dsb_t) {}

}  // namespace pto
